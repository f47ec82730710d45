import { duplexPair } from 'node:stream'
import { Http2Client } from '../../src/gateway/http2/client.ts'
import type { Http2Connection } from '../../src/gateway/http2/connection.ts'
import { Http2Error } from '../../src/gateway/http2/errors.ts'
import { frameHeader, headerFrames, numberFrame, preface } from '../../src/gateway/http2/frames.ts'
import { encodeHeaders } from '../../src/gateway/http2/hpack/encoder.ts'
import { Http2Server } from '../../src/gateway/http2/server.ts'
import { defaultSettings } from '../../src/gateway/http2/settings.ts'
import type { Http2Stream } from '../../src/gateway/http2/stream.ts'
import { createRandom, type Random } from '../random.ts'
import { damaged } from './damaged.ts'

/** Smaller than the window of a connection, so that either can be what a peer goes beyond. */
const limits = { streamWindow: 32 << 10, maxConcurrentStreams: 20, maxHeaderListSize: 8 << 10 }

/**
 * One connection to a peer that sends frames which are right, wrong, damaged and cut in pieces.
 * @throws when an error of ours ends it, or when it holds more than its limits allow.
 */
export async function fuzzConnection(seed: number): Promise<void> {
  const random = createRandom(seed)
  const [peer, far] = duplexPair()
  peer.on('error', () => undefined)
  peer.resume()
  const role = random.chance(0.7) ? 'server' : 'client'
  const connection = role === 'server' ? new Http2Server(far, limits) : new Http2Client(far, limits)
  const lasting = random.chance(0.3)
  const next = lasting ? lastingFrames(random, role) : () => anyFrame(random)
  const calls: Http2Stream[] = []
  const taken = (stream: Http2Stream): void => {
    calls.push(stream)
    answer(random, stream)
  }
  if (connection instanceof Http2Server) {
    connection.on('stream', taken)
    connection.on('oversized', (stream) => stream.close(0))
    peer.write(preface)
  } else {
    for (let n = 0; n < 5; n++) taken(connection.request(request(random)))
  }
  peer.write(frameHeader(4, 0, 0, 0))
  for (let n = 0; n < 60 && !connection.destroyed; n++) {
    const frame = next()
    const bytes = !lasting && random.chance(0.3) ? damaged(random, frame) : frame
    for (let at = 0; at < bytes.length;) {
      const size = random.chance(0.7) ? bytes.length : 1 + random.int(20)
      peer.write(bytes.subarray(at, at + size))
      at += size
    }
    if (random.chance(0.2)) await turn()
    check(connection, calls, seed)
  }
  await turn()
  check(connection, calls, seed)
  connection.destroy()
  peer.destroy()
  await turn()
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** How a connection ends that the peer has cut, or that we have. */
const cuts = ['EPIPE', 'ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE']

/** Errors that Node makes of ours have codes too, e.g. ERR_OUT_OF_RANGE of a read behind the end of a frame. */
const isOurs = (reason: Error): boolean =>
  !(reason instanceof Http2Error) && !('code' in reason && cuts.includes(String(reason.code)))

function check(connection: Http2Connection, calls: readonly Http2Stream[], seed: number): void {
  const { reason } = connection
  if (reason !== undefined && isOurs(reason))
    throw new Error(`seed ${seed}: an error of ours ended a connection`, { cause: reason })
  if (connection.openStreams > limits.maxConcurrentStreams) throw new Error(`seed ${seed}: too many streams`)
  const unread = calls.map((call) => call['unread'].length)
  if (Math.max(0, ...unread) > limits.streamWindow) throw new Error(`seed ${seed}: a call holds more than its window`)
  const all = unread.reduce((sum, bytes) => sum + bytes, 0)
  if (all > defaultSettings.initialWindowSize) throw new Error(`seed ${seed}: more is unread than the window allows`)
}

/** What handlers do with calls: read or not, answer or not, give up. */
function answer(random: Random, stream: Http2Stream): void {
  if (random.chance(0.6)) stream.on('data', (chunk) => random.chance(0.5) && stream.write(chunk))
  if (random.chance(0.3)) stream.pause()
  if (random.chance(0.5)) stream.respond([':status', '200'], { endStream: random.chance(0.2) })
  if (random.chance(0.3)) stream.end(random.bytes(random.int(100)), ['grpc-status', '0'])
  if (random.chance(0.1)) stream.close(random.int(14))
  stream.once('end', () => random.chance(0.5) && stream.end())
}

const names = [
  ':method',
  ':path',
  ':scheme',
  ':authority',
  ':status',
  'te',
  'content-length',
  'a',
  'A',
  'connection',
  '',
]

function request(random: Random): string[] {
  const headers = [':method', 'POST', ':scheme', 'http', ':path', '/x', ':authority', 'a']
  if (random.chance(0.2)) headers.splice(random.int(8), random.int(4))
  for (let n = random.int(4); n > 0; n--)
    headers.push(random.pick(names), random.bytes(random.int(30)).toString('latin1'))
  return headers
}

/** Of a peer that breaks no rule but that of the windows: others are gone before anything is left unread. */
function lastingFrames(random: Random, role: 'server' | 'client'): () => Buffer {
  const fields = role === 'server' ? [':method', 'POST', ':scheme', 'http', ':path', '/x'] : [':status', '200']
  const block = encodeHeaders(fields, false)
  let last = -1
  return () => {
    if (last < 0 || (last < 9 && random.chance(0.2))) return headerFrames((last += 2), block, false, 16_384)[0]!
    const id = 1 + 2 * random.int((last + 1) / 2)
    if (random.chance(0.1)) return numberFrame(random.pick([3, 8]), id, 8)
    const size = random.pick([0, 100, 9000, 16_384])
    return Buffer.concat([frameHeader(0, random.pick([0, 0, 0, 0, 1]), id, size), Buffer.alloc(size)])
  }
}

function anyFrame(random: Random): Buffer {
  const id = random.pick([0, 1, 1, 3, 3, 5, 7, 9, 2, 11 + 2 * random.int(50)])
  const flag = random.pick([0, 0, 1, 4, 5, 5, 8, 0x20, random.int(256)])
  const plain = (type: number, payload: Buffer): Buffer =>
    Buffer.concat([frameHeader(type, flag, id, payload.length), payload])
  switch (random.int(10)) {
    case 0:
    case 1:
      return plain(0, random.bytes(random.pick([0, 1, 100, 9000])))
    case 2:
    case 3:
    case 4: {
      const fields = random.chance(0.2) ? [':status', random.pick(['200', '100', 'x'])] : request(random)
      return Buffer.concat(
        headerFrames(id, encodeHeaders(fields, false), random.chance(0.4), random.pick([16_384, 10])),
      )
    }
    case 5:
      return numberFrame(random.pick([3, 8]), id, random.pick([0, 1, 8, 70_000, 2 ** 31 - 1, 2 ** 32 - 1]))
    case 6:
      return plain(random.pick([2, 3, 4, 4, 6, 7, 8]), random.bytes(random.pick([0, 3, 6, 8, 12, 5])))
    case 7:
      return plain(random.pick([1, 1, 9]), random.bytes(random.int(random.pick([6, 60]))))
    case 8:
      return plain(random.int(256), random.bytes(random.int(60)))
    default:
      return Buffer.concat([frameHeader(4, 0, 0, 6), Buffer.from([0, random.int(8), ...random.bytes(4)])])
  }
}
