import { InsituError } from '../errors.ts'

/** Bytes before every gRPC message: one flag (1: compressed) and the length as a big-endian 32-bit number. */
export const framePrefix = 5

/** Packs one uncompressed message as gRPC sends it: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md. */
export function frame(message: Uint8Array): Buffer {
  const framed = Buffer.allocUnsafe(framePrefix + message.length)
  framed[0] = 0
  framed.writeUInt32BE(message.length, 1)
  framed.set(message, framePrefix)
  return framed
}

/**
 * Takes the one message out of a unary body.
 * @throws InsituError GRPC_FRAME when the body is compressed, cut off, or holds anything but one message.
 */
export function unframe(body: Buffer): Buffer {
  const wrong = (what: string, status: 'INVALID_ARGUMENT' | 'UNIMPLEMENTED'): InsituError =>
    new InsituError('GRPC_FRAME', what, { status })
  if (body.length < framePrefix) throw wrong('the call carries no message', 'INVALID_ARGUMENT')
  if (body[0] !== 0) throw wrong('compressed gRPC messages are not supported', 'UNIMPLEMENTED')
  const length = body.readUInt32BE(1)
  if (body.length !== framePrefix + length) {
    throw wrong(`the message says ${length} bytes and has ${body.length - framePrefix}`, 'INVALID_ARGUMENT')
  }
  return body.subarray(framePrefix)
}

/** What a body is read from: the part of a Readable that is needed. */
export interface BodySource {
  readonly closed: boolean
  on(event: 'data', listener: (chunk: Buffer) => void): unknown
  once(event: 'end' | 'close', listener: () => void): unknown
  removeAllListeners(event: 'data'): unknown
  resume(): unknown
}

/** Memory that several bodies share. */
export interface BodyRoom {
  /** Most bytes of one body. */
  readonly each: number
  /** @throws InsituError when there is no room for so many bytes more. */
  take(bytes: number): void
  give(bytes: number): void
}

/**
 * Collects a request body to its end.
 * @param room what may be kept in memory: bytes, or a share that the body takes of a common room until its stream is closed.
 * @throws InsituError RESOURCE_EXHAUSTED beyond the limit; CANCELLED when the sender goes away.
 */
export async function readBody(stream: BodySource, room: number | BodyRoom): Promise<Buffer> {
  const chunks: Buffer[] = []
  const common = typeof room === 'number' ? undefined : room
  const limit = typeof room === 'number' ? room : room.each
  let size = 0
  let taken = 0
  const keep = (chunk: Buffer): void => {
    size += chunk.length
    if (size > limit) {
      throw new InsituError(
        'MESSAGE_TOO_LARGE',
        `the message is larger than the ${Math.floor(limit / (1 << 20))} MiB that are accepted`,
        { status: 'RESOURCE_EXHAUSTED' },
      )
    }
    common?.take(chunk.length)
    taken = size
    chunks.push(chunk)
  }
  return new Promise((resolve, reject) => {
    const gone = (): void => reject(new InsituError('CANCELLED', 'the client went away', { status: 'CANCELLED' }))
    stream.on('data', (chunk: Buffer) => {
      try {
        keep(chunk)
      } catch (error) {
        stream.removeAllListeners('data')
        stream.resume()
        reject(error)
      }
    })
    if (common) stream.once('close', () => common.give(taken))
    stream.once('end', () => resolve(Buffer.concat(chunks)))
    if (stream.closed) return gone()
    stream.once('close', gone)
  })
}

/**
 * Cuts a stream of framed messages at their ends, so that others can be put between them.
 * @returns a function that takes the next bytes and gives back the messages that are complete now, framed, in one piece.
 */
export function messageCutter(): (chunk: Buffer) => Buffer {
  let held: Buffer[] = []
  let size = 0
  return (chunk) => {
    held.push(chunk)
    size += chunk.length
    // A large message comes in many pieces: they are joined once, when they are enough.
    const first = held[0] as Buffer
    if (first.length >= framePrefix && size < framePrefix + first.readUInt32BE(1)) return Buffer.alloc(0)
    const all = held.length === 1 ? first : Buffer.concat(held)
    let end = 0
    while (all.length - end >= framePrefix) {
      const next = end + framePrefix + all.readUInt32BE(end + 1)
      if (next > all.length) break
      end = next
    }
    const rest = all.subarray(end)
    held = rest.length > 0 ? [rest] : []
    size = rest.length
    return all.subarray(0, end)
  }
}
