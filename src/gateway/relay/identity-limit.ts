import { InsituError } from '../../kernel/errors.ts'
import type { BodyRoom } from '../../kernel/grpc/framing.ts'
import { type Caller, describeCaller, identityOf } from '../listener/caller.ts'
import type { LimitsConfig } from '../../api/limits.ts'

/** What one connection of an identity has. */
export interface Claim {
  /** Memory for the messages of its calls, which the identity's other connections share. */
  readonly messages: BodyRoom
  /** To call when the connection is gone. */
  readonly release: () => void
}

/** Counts the connections of each identity, and what is kept of their messages. */
export interface IdentityLimit {
  /** @throws InsituError CONNECTIONS_LIMIT (RESOURCE_EXHAUSTED) */
  claim(caller: Caller): Claim
}

interface Share {
  connections: number
  bytes: number
}

type Limits = Pick<LimitsConfig, 'connectionsPerIdentity' | 'messageSize' | 'messagesPerIdentity'>

export function createIdentityLimit({
  connectionsPerIdentity,
  messageSize,
  messagesPerIdentity,
}: Limits): IdentityLimit {
  const shares = new Map<string, Share>()
  const messagesOf = (share: Share, caller: Caller): BodyRoom => ({
    each: messageSize,
    take(bytes) {
      if (share.bytes + bytes > messagesPerIdentity) {
        const most = `${Math.floor(messagesPerIdentity / (1 << 20))} MiB`
        throw new InsituError('MESSAGES_LIMIT', `${describeCaller(caller)} has calls with ${most} of messages open`, {
          status: 'RESOURCE_EXHAUSTED',
          fix: 'build less at a time, or raise gateway.limits.messagesPerIdentity in insitu.toml',
        })
      }
      share.bytes += bytes
    },
    give: (bytes) => void (share.bytes -= bytes),
  })
  return {
    claim(caller) {
      const identity = identityOf(caller)
      const share = shares.get(identity) ?? { connections: 0, bytes: 0 }
      if (share.connections >= connectionsPerIdentity) {
        throw new InsituError(
          'CONNECTIONS_LIMIT',
          `${describeCaller(caller)} has ${connectionsPerIdentity} connections open already`,
          {
            status: 'RESOURCE_EXHAUSTED',
            fix: 'end some of them, or raise gateway.limits.connectionsPerIdentity in insitu.toml',
          },
        )
      }
      share.connections += 1
      shares.set(identity, share)
      return {
        messages: messagesOf(share, caller),
        release() {
          share.connections -= 1
          if (share.connections === 0) shares.delete(identity)
        },
      }
    },
  }
}
