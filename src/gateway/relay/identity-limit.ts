import { InsituError } from '../../kernel/errors.ts'
import { type Caller, describeCaller, identityOf } from '../listener/caller.ts'

/** Counts the connections of each identity. */
export interface IdentityLimit {
  /**
   * @returns a function to call when the connection is gone.
   * @throws InsituError CONNECTIONS_LIMIT (RESOURCE_EXHAUSTED)
   */
  claim(caller: Caller): () => void
}

export function createIdentityLimit(most: number): IdentityLimit {
  const open = new Map<string, number>()
  return {
    claim(caller) {
      const identity = identityOf(caller)
      const count = open.get(identity) ?? 0
      if (count >= most) {
        throw new InsituError('CONNECTIONS_LIMIT', `${describeCaller(caller)} has ${most} connections open already`, {
          status: 'RESOURCE_EXHAUSTED',
          fix: 'end some of them, or raise gateway.limits.connectionsPerIdentity in insitu.toml',
        })
      }
      open.set(identity, count + 1)
      return () => {
        const left = (open.get(identity) ?? 1) - 1
        if (left === 0) open.delete(identity)
        else open.set(identity, left)
      }
    },
  }
}
