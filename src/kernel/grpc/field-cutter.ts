import { InsituError } from '../errors.ts'
import type { Deframer } from './deframe.ts'
import { framePrefix } from './framing.ts'
import { fieldAt } from './wire.ts'

/**
 * Cuts the one message of a gRPC body into the values of a repeated field while it arrives, for a message of which nobody
 * wants to hold more than that. What it gives back is part of what arrived: who keeps a little of it copies that.
 * @param limit most bytes of the message.
 */
export function fieldCutter(field: number, limit: number): Deframer {
  let held: Buffer[] = []
  let size = 0
  /** Bytes without which nothing more can be cut. */
  let wanted = framePrefix
  let begun = false

  const begin = (all: Buffer): void => {
    if (all[0] !== 0) {
      throw new InsituError('GRPC_FRAME', 'compressed gRPC messages are not supported', { status: 'UNIMPLEMENTED' })
    }
    const length = all.readUInt32BE(1)
    if (length > limit) {
      throw new InsituError('GRPC_FRAME', `a message of ${length} bytes is too large`, { status: 'RESOURCE_EXHAUSTED' })
    }
    begun = true
  }

  return {
    push(chunk) {
      held.push(chunk)
      size += chunk.length
      if (size < wanted) return []
      const all = held.length === 1 ? chunk : Buffer.concat(held)
      let at = 0
      if (!begun) {
        begin(all)
        at = framePrefix
      }
      const values: Buffer[] = []
      wanted = 1
      while (at < all.length) {
        const next = fieldAt(all, at)
        if (!next || next.to > all.length) {
          if (next && next.to - at > limit) throw new RangeError('protobuf message is damaged')
          wanted = next ? next.to - at : all.length - at + 1
          break
        }
        if (next.number === field && next.type === 2) values.push(all.subarray(next.from, next.to))
        at = next.to
      }
      held = at < all.length ? [Buffer.from(all.subarray(at))] : []
      size = all.length - at
      return values
    },
  }
}
