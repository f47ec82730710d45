import { InsituError } from '../errors.ts'
import { framePrefix } from './framing.ts'

/** Cuts a gRPC body into its messages, whatever pieces it arrives in. */
export interface Deframer {
  /** @returns the messages that are complete now, without their prefix. @throws InsituError GRPC_FRAME */
  push(chunk: Buffer): Buffer[]
}

/** @param limit most bytes of one message. */
export function createDeframer(limit: number): Deframer {
  let rest: Buffer = Buffer.alloc(0)
  return {
    push(chunk) {
      rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
      const messages: Buffer[] = []
      while (rest.length >= framePrefix) {
        if (rest[0] !== 0) {
          throw new InsituError('GRPC_FRAME', 'compressed gRPC messages are not supported', { status: 'UNIMPLEMENTED' })
        }
        const length = rest.readUInt32BE(1)
        if (length > limit) {
          throw new InsituError('GRPC_FRAME', `a message of ${length} bytes is too large`, {
            status: 'RESOURCE_EXHAUSTED',
          })
        }
        if (rest.length < framePrefix + length) break
        messages.push(rest.subarray(framePrefix, framePrefix + length))
        rest = rest.subarray(framePrefix + length)
      }
      return messages
    },
  }
}
