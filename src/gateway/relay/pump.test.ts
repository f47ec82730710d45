import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type Duplex, duplexPair } from 'node:stream'
import { afterEach, expect, test, vi } from 'vitest'
import { Http2Client } from '../http2/client.ts'
import { flags, frameHeader, frameTypes, headerFrames, numberFrame, pingFrame, preface } from '../http2/frames.ts'
import { encodeHeaders } from '../http2/hpack/encoder.ts'
import { Http2Server } from '../http2/server.ts'
import { settingsFrame } from '../http2/settings.ts'
import type { Http2Stream } from '../http2/stream.ts'
import { looseStream } from '../../../test/unit/loose-stream.ts'
import { pump } from './pump.ts'

const limits = { streamWindow: 256 << 10, maxConcurrentStreams: 10, maxHeaderListSize: 16 << 10 }
const request = [':method', 'POST', ':scheme', 'http', ':path', '/x', ':authority', 'a']
const open: { destroy(): void }[] = []

afterEach(() => {
  for (const one of open.splice(0)) one.destroy()
})

/** Both ends of a connection, and what its server's side and its client's side have written, write by write. */
function connection(windows: { server?: number; client?: number } = {}): {
  client: Http2Client
  server: Http2Server
  sent: Buffer[]
  answered: Buffer[]
} {
  const [near, far] = duplexPair()
  const server = new Http2Server(far, { ...limits, streamWindow: windows.server ?? limits.streamWindow })
  const client = new Http2Client(near, { ...limits, streamWindow: windows.client ?? limits.streamWindow })
  server.setWindow(windows.server ?? 0)
  client.setWindow(windows.client ?? 0)
  open.push(client, server)
  return { client, server, sent: writesOf(far), answered: writesOf(near) }
}

function writesOf(reader: Duplex): Buffer[] {
  const writes: Buffer[] = []
  reader.on('data', (chunk: Buffer) => writes.push(chunk))
  return writes
}

test('a short call is one packet for the daemon, and its answer one for the client', async () => {
  const down = connection()
  const up = connection()
  down.server.on('stream', (stream, headers) => {
    void pump(stream, up.client.request(headers), { lost: () => undefined })
  })
  up.server.on('stream', (stream) => {
    stream.resume()
    stream.once('end', () => {
      stream.respond([':status', '200'])
      stream.end(Buffer.from('the answer'), ['grpc-status', '0'])
    })
  })
  const call = async (): Promise<void> => {
    const stream = down.client.request(request)
    stream.resume()
    stream.end(Buffer.from('the question'))
    await once(stream, 'close')
  }
  // The first one comes with the settings of both sides.
  await call()
  up.sent.length = 0
  down.answered.length = 0
  await call()
  expect(up.sent.filter((write) => write.includes('the question'))).toHaveLength(1)
  expect(up.sent).toHaveLength(1)
  expect(down.answered.filter((write) => write.includes('the answer'))).toHaveLength(1)
  expect(down.answered).toHaveLength(1)
})

/** What the relay lets come: more than the other side takes. */
const large = 4 << 20

/** A call that is relayed, seen from the client and from the daemon. */
async function relayed() {
  const down = connection({ server: large })
  const up = connection({ client: large })
  let relaying: Promise<unknown> | undefined
  const closed: string[] = []
  down.server.on('stream', (stream, headers) => {
    const call = up.client.request(headers)
    stream.once('close', () => closed.push('client'))
    call.once('close', () => closed.push('daemon'))
    relaying = pump(stream, call, { lost: () => undefined })
  })
  const daemon = once(up.server, 'stream') as Promise<[Http2Stream]>
  const client = down.client.request(request)
  const [served] = await daemon
  return { client, served, closed, done: () => relaying }
}

test('a daemon that answers before it has read lets a long call of a client end', async () => {
  const { client, served, closed, done } = await relayed()
  // More than the daemon's window and what the relay passes on: the rest waits.
  client.end(Buffer.alloc(large / 2))
  await new Promise((resolve) => setTimeout(resolve, 50))
  served.respond([':status', '200', 'grpc-status', '3'], { endStream: true })
  client.resume()
  await done()
  await vi.waitFor(() => expect(closed.sort()).toEqual(['client', 'daemon']))
})

test('what a client leaves unread goes with it, also when the daemon had said everything', async () => {
  const { client, served, closed, done } = await relayed()
  served.resume()
  client.end()
  served.respond([':status', '200'])
  served.end(Buffer.alloc(large / 2), ['grpc-status', '0'])
  client.pause()
  await new Promise((resolve) => setTimeout(resolve, 50))
  client.close()
  await done()
  await vi.waitFor(() => expect(closed.sort()).toEqual(['client', 'daemon']))
})

test('an answer whose last piece has to wait for the client ends as the daemon said', async () => {
  const [down, up] = [looseStream(), looseStream()]
  const ended = pump(down, up, { body: Buffer.alloc(1), lost: () => undefined })
  up.emit('response', [':status', '200'], false)
  await new Promise(setImmediate)
  // All of it is read, and is enough for now: the end is heard of when the client has taken it.
  up.received(Buffer.alloc(300 << 10))
  up.emit('trailers', ['grpc-status', '0'])
  up.receivedEnd()
  up.finish(0)
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(down.writableEnded).toBe(false)
  down.pending.clear()
  down.sent(300 << 10)
  expect(await ended).toMatchObject({ kind: 'status', code: 0 })
  expect(down.trailers).toEqual(['grpc-status', '0'])
})

test('how a call ended is told in words, and to the client as the daemon said it', async () => {
  const { client, served, done } = await relayed()
  served.resume()
  client.end()
  const trailers = once(client, 'trailers')
  client.resume()
  served.respond([':status', '200'])
  served.end(undefined, ['grpc-status', '2', 'grpc-message', 'f%C3%BCr 100%25 "app"%0Anot found'])
  expect(await done()).toEqual({ kind: 'status', code: 2, message: 'für 100% "app"\nnot found' })
  expect(String(await trailers)).toContain('f%C3%BCr 100%25 "app"%0Anot found')
})

/** A client of which nothing is known, with the window of its calls. */
const settings = (window: number): Buffer =>
  settingsFrame({ role: 'client', initialWindowSize: window, maxConcurrentStreams: 0, maxHeaderListSize: 65_536 })

test('what a client with many calls leaves unread is little for each, and comes when it reads', async () => {
  const [calls, size] = [200, 512 << 10]
  const many = { ...limits, maxConcurrentStreams: calls }
  const [peer, far] = duplexPair()
  const down = new Http2Server(far, many)
  const [near, daemonSide] = duplexPair()
  const up = new Http2Client(near, { ...limits, streamWindow: 65_535, shared: true })
  const daemon = new Http2Server(daemonSide, many)
  open.push(down, up, daemon)
  up.setWindow(16 << 20)
  const answers: Http2Stream[] = []
  down.on('stream', (stream, headers) => {
    answers.push(stream)
    void pump(stream, up.request(headers, { left: 0, each: 0, waiting: 0 }), { lost: () => undefined })
  })
  daemon.on('stream', (stream) => {
    stream.resume()
    stream.respond([':status', '200'])
    stream.end(Buffer.alloc(size), ['grpc-status', '0'])
  })
  let read = 0
  peer.on('data', (chunk: Buffer) => (read += chunk.length))
  const block = encodeHeaders(request, false)
  const asked = Array.from({ length: calls }, (_, n) => headerFrames(1 + 2 * n, block, true, 16_384)).flat()
  peer.write(Buffer.concat([preface, settings(0), ...asked]))
  const waiting = (): number => answers.reduce((sum, { writableLength }) => sum + writableLength, 0)
  let before = -1
  while (waiting() !== before || before < calls) {
    before = waiting()
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  expect(Math.min(...answers.map(({ writableLength }) => writableLength))).toBeGreaterThan(0)
  expect(before).toBeLessThan(16 << 20)
  expect(down.backlog.waiting).toBe(before)
  peer.write(Buffer.concat([settings(size), numberFrame(frameTypes.WINDOW_UPDATE, 0, calls * size)]))
  await vi.waitFor(() => expect(read).toBeGreaterThan(calls * size), { timeout: 20_000 })
  await vi.waitFor(() => expect(down.openStreams).toBe(0))
  expect(down.backlog.waiting).toBe(0)
})

/** The same numbers for the same seed. */
function numbers(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff
    return (state >> 8) % below
  }
}

test.each([1, 2, 3, 4])(
  'what comes in frames and reads of any size arrives as it was sent, some of it in one piece (%i)',
  async (seed) => {
    const random = numbers(seed)
    const [peer, far] = duplexPair()
    const server = new Http2Server(far, { ...limits, streamWindow: large })
    server.setWindow(large)
    const up = connection({ server: large, client: large })
    open.push(server)
    server.on('stream', (stream, headers) => {
      void pump(stream, up.client.request(headers), { lost: () => undefined })
    })
    const got: Buffer[][] = [[], [], []]
    let ended = 0
    up.server.on('stream', (stream, headers) => {
      const to = got[Number(headers[headers.indexOf(':path') + 1]?.slice(1))]!
      stream.on('data', (chunk) => {
        to.push(Buffer.from(chunk))
        // One that reads slowly leaves the rest of a frame for later.
        if (random(8) > 0) return
        stream.pause()
        setImmediate(() => stream.resume())
      })
      stream.once('end', () => (ended += 1))
    })
    await once(up.client, 'settings')

    const sent: Buffer[][] = [[], [], []]
    const frames: Buffer[] = []
    const ids = [1, 3, 5]
    for (const [i, id] of ids.entries()) {
      const headers = request.with(request.indexOf('/x'), `/${i}`)
      frames.push(...headerFrames(id, encodeHeaders(headers, false), false, 16_384))
    }
    for (let n = 0; n < 300; n++) {
      const i = random(10) < 8 ? 0 : random(3)
      const body = randomBytes(random(3) === 0 ? random(100) : 4096 + random(12_000))
      sent[i]!.push(body)
      const padding = random(10) === 0 ? random(12) : undefined
      if (padding === undefined) frames.push(frameHeader(frameTypes.DATA, 0, ids[i]!, body.length), body)
      else {
        const length = 1 + body.length + padding
        frames.push(frameHeader(frameTypes.DATA, flags.PADDED, ids[i]!, length), Buffer.from([padding]), body)
        frames.push(Buffer.alloc(padding, 0xaa))
      }
      if (random(20) === 0) frames.push(pingFrame(Buffer.alloc(8), false))
    }
    for (const id of ids) frames.push(frameHeader(frameTypes.DATA, flags.END_STREAM, id, 0))
    peer.resume()
    peer.write(Buffer.concat([preface, settingsFrame({ ...limits, role: 'client', initialWindowSize: 65_535 })]))
    const bytes = Buffer.concat(frames)
    for (let at = 0; at < bytes.length;) {
      const size = random(4) === 0 ? 1 + random(50) : 1 + random(65_536)
      // Each read is memory of its own, as a socket's is.
      peer.write(Buffer.concat([bytes.subarray(at, at + size)]))
      at += size
      if (random(3) === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    await vi.waitFor(() => expect(ended).toBe(3), { timeout: 5000 })
    for (const [i] of ids.entries())
      expect(Buffer.concat(got[i]!).equals(Buffer.concat(sent[i]!)), `call ${i}`).toBe(true)
    // More than a frame.
    expect(Math.max(...up.sent.map(({ length }) => length))).toBeGreaterThan(17_000)
  },
)
