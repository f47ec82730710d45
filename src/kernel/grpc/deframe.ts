import { InsituError } from '../errors.ts'
import { framePrefix } from './framing.ts'

/** Cuts a gRPC body into its messages, whatever pieces it arrives in. */
export interface Deframer {
  /** @returns the messages that are complete now, without their prefix. @throws InsituError GRPC_FRAME */
  push(chunk: Buffer): Buffer[]
}

/**
 * What it holds is at most twice what has arrived of a message, and each byte is copied a few times at most, also when a peer sends a
 * large message one byte at a time.
 * @param limit most bytes of one message.
 */
export function createDeframer(limit: number): Deframer {
  let held = Buffer.alloc(0)
  let size = 0

  /** Adds to what is held, for which there is room up to the next doubling. */
  const hold = (chunk: Buffer): Buffer => {
    if (size + chunk.length > held.length) {
      const larger = Buffer.allocUnsafeSlow(
        Math.max(size + chunk.length, Math.min(2 * held.length, framePrefix + limit)),
      )
      held.copy(larger, 0, 0, size)
      held = larger
    }
    chunk.copy(held, size)
    size += chunk.length
    return held.subarray(0, size)
  }

  return {
    push(chunk) {
      const all = size === 0 ? chunk : hold(chunk)
      const messages: Buffer[] = []
      let at = 0
      while (all.length - at >= framePrefix) {
        if (all[at] !== 0) {
          throw new InsituError('GRPC_FRAME', 'compressed gRPC messages are not supported', { status: 'UNIMPLEMENTED' })
        }
        const length = all.readUInt32BE(at + 1)
        if (length > limit) {
          throw new InsituError('GRPC_FRAME', `a message of ${length} bytes is too large`, {
            status: 'RESOURCE_EXHAUSTED',
          })
        }
        const end = at + framePrefix + length
        if (all.length < end) break
        messages.push(all.subarray(at + framePrefix, end))
        at = end
      }
      if (at > 0 || size === 0) {
        // The messages are parts of what was held: the rest gets a place of its own.
        held = Buffer.from(all.subarray(at))
        size = held.length
      }
      return messages
    },
  }
}
