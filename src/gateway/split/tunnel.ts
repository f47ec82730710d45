import { Duplex } from 'node:stream'
import { createDeframer } from '../../kernel/grpc/deframe.ts'
import { framePrefix } from '../../kernel/grpc/framing.ts'
import { errorCodes } from '../http2/errors.ts'
import type { Http2Stream } from '../http2/stream.ts'

/** Most bytes of one message: Go's gRPC takes 4 MiB, and BuildKit sends 3. */
const largest = 4 << 20

/** Tag of `BytesMessage.data`, BuildKit v0.33.1, api/services/control/control.proto. */
const dataTag = 0x0a

/**
 * The bytes inside of a gRPC stream of BytesMessages, which is what a session is: both ends speak HTTP/2 in it.
 * Back-pressure goes through in both directions. Destroying it cancels the call, ending it ends our side of the call.
 * @param head what was read of the stream before.
 */
export function tunnel(stream: Http2Stream, head: Uint8Array = Buffer.alloc(0)): Duplex {
  const deframer = createDeframer(largest + 16)
  let wait: (() => void) | undefined
  const proceed = (): void => {
    const next = wait
    wait = undefined
    next?.()
  }
  const send = (chunks: readonly Buffer[], done: () => void): void => {
    let room = true
    for (const message of packed(chunks)) room = stream.write(message)
    if (room || stream.closed) return done()
    wait = done
  }
  const duplex = new Duplex({
    readableHighWaterMark: 256 << 10,
    writableHighWaterMark: 256 << 10,
    read: () => void stream.resume(),
    write: (chunk: Buffer, _, done) => send([chunk], done),
    writev: (chunks, done) =>
      send(
        chunks.map(({ chunk }) => chunk as Buffer),
        done,
      ),
    final(done) {
      stream.end()
      done()
    },
    destroy(error, done) {
      stream.close(errorCodes.CANCEL)
      proceed()
      done(error)
    },
  })
  const read = (chunk: Buffer): void => {
    try {
      for (const message of deframer.push(chunk)) {
        const data = dataOf(message)
        if (data.length > 0 && !duplex.push(data)) stream.pause()
      }
    } catch (error) {
      duplex.destroy(error instanceof Error ? error : new Error('the session cannot be read'))
    }
  }
  stream.on('drain', proceed)
  stream.once('end', () => duplex.push(null))
  stream.once('close', () => {
    proceed()
    duplex.destroy()
  })
  if (head.length > 0) read(Buffer.from(head))
  stream.on('data', read)
  return duplex
}

/** gRPC messages with the bytes of the chunks: small ones together, because each costs the other side a round. */
function* packed(chunks: readonly Buffer[]): Generator<Buffer> {
  let batch: Buffer[] = []
  let size = 0
  for (const chunk of chunks) {
    for (let at = 0; at < chunk.length; at += largest / 4) {
      const piece = chunk.subarray(at, at + largest / 4)
      if (size + piece.length > largest / 2) {
        yield pack(batch, size)
        batch = []
        size = 0
      }
      batch.push(piece)
      size += piece.length
    }
  }
  if (size > 0) yield pack(batch, size)
}

function pack(pieces: readonly Buffer[], size: number): Buffer {
  const varint: number[] = []
  let rest = size
  for (; rest > 127; rest >>>= 7) varint.push((rest & 127) | 128)
  varint.push(rest)
  const head = Buffer.alloc(framePrefix + 1 + varint.length)
  head.writeUInt32BE(1 + varint.length + size, 1)
  head[framePrefix] = dataTag
  head.set(varint, framePrefix + 1)
  return Buffer.concat([head, ...pieces], head.length + size)
}

/** @throws Error when it is no BytesMessage. */
function dataOf(message: Buffer): Buffer {
  if (message.length === 0) return message
  let at = 1
  let length = 0
  for (let shift = 0; ; shift += 7) {
    const byte = message[at++]
    if (byte === undefined || shift > 28) throw new Error('a message of the session cannot be read')
    length += (byte & 127) * 2 ** shift
    if (byte < 128) break
  }
  if (message[0] !== dataTag || at + length !== message.length) {
    throw new Error('a message of the session is not what BuildKit sends')
  }
  return message.subarray(at)
}
