import { once } from 'node:events'
import { Duplex, duplexPair } from 'node:stream'
import { expect, test } from 'vitest'
import { limits, open, pair, request } from '../../../test/unit/http2-pair.ts'
import { Http2Client } from './client.ts'
import { errorCodes } from './errors.ts'
import { flags, frameHeader, frameTypes, goawayFrame, headerFrames, numberFrame, pingFrame, preface } from './frames.ts'
import { encodeHeaders } from './hpack/encoder.ts'
import { Http2Server } from './server.ts'
import { settingsFrame } from './settings.ts'
import type { Http2Stream } from './stream.ts'
import type { Allowance } from './windows.ts'

/** A server, and the bytes of a client that does what it likes. */
function raw() {
  const [peer, far] = duplexPair()
  const server = new Http2Server(far, limits)
  open.push(server)
  const calls: Http2Stream[] = []
  server.on('stream', (stream) => calls.push(stream))
  const answers: Buffer[] = []
  peer.on('data', (chunk: Buffer) => answers.push(chunk))
  peer.on('error', () => undefined)
  peer.write(preface)
  const own = { role: 'client', initialWindowSize: 65_535, maxConcurrentStreams: 0, maxHeaderListSize: 65_536 } as const
  peer.write(settingsFrame(own))
  const codeIn = (type: number, offset: number) => () => {
    const at = frameAt(Buffer.concat(answers), type)
    return at === undefined ? undefined : Buffer.concat(answers).readUInt32BE(at + 9 + offset)
  }
  return { server, peer, calls, goaway: codeIn(frameTypes.GOAWAY, 4), reset: codeIn(frameTypes.RST_STREAM, 0) }
}

/** Where the first frame of a type is. */
function frameAt(bytes: Buffer, type: number): number | undefined {
  for (let at = 0; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3)) {
    if (bytes[at + 3] === type) return at
  }
  return undefined
}

const headersFrame = (id: number): Buffer =>
  Buffer.concat(headerFrames(id, encodeHeaders(request, false), false, 16_384))

test('a call with a body, an answer and trailers', async () => {
  const { client, server } = pair()
  server.on('stream', (stream, headers) => {
    expect(headers).toEqual(request)
    const body: Buffer[] = []
    stream.on('data', (chunk) => body.push(chunk))
    stream.once('end', () => {
      stream.respond([':status', '200', 'm', '1', 'm', '2'])
      stream.end(Buffer.concat(body), ['grpc-status', '0'])
    })
  })
  const call = client.request(request)
  const seen: unknown[] = []
  call.on('response', (headers) => seen.push(headers))
  call.on('trailers', (headers) => seen.push(headers))
  let bytes = 0
  call.on('data', (chunk) => (bytes += chunk.length))
  for (let n = 0; n < 300; n++) call.write(Buffer.alloc(10_000, n))
  call.end()
  await once(call, 'close')
  expect(bytes).toBe(3_000_000)
  expect(seen).toEqual([
    [':status', '200', 'm', '1', 'm', '2'],
    ['grpc-status', '0'],
  ])
  expect(call.rstCode).toBe(errorCodes.NO_ERROR)
})

test('who does not read stops who writes, within the window, and other calls go on', async () => {
  const { client, server } = pair()
  const calls: Http2Stream[] = []
  server.on('stream', (stream) => calls.push(stream))
  server.setWindow(4 << 20)
  const stuck = client.request(request)
  stuck.write(Buffer.alloc(1 << 20))
  const other = client.request(request)
  other.end(Buffer.alloc(100))
  while (calls.length < 2) await new Promise((resolve) => setImmediate(resolve))
  calls[1]!.resume()
  await once(calls[1]!, 'end')
  expect(stuck.writableLength).toBe((1 << 20) - limits.streamWindow)
  const read = { bytes: 0 }
  calls[0]!.on('data', (chunk) => (read.bytes += chunk.length))
  await once(stuck, 'drain')
  while (read.bytes < 1 << 20) await new Promise((resolve) => setImmediate(resolve))
})

test('a writer that was told to wait hears of the room, whatever another one adds meanwhile', async () => {
  const { client, server } = pair()
  const calls: Http2Stream[] = []
  server.on('stream', (stream) => calls.push(stream))
  server.setWindow(4 << 20)
  const call = client.request(request)
  while (calls.length < 1) await new Promise((resolve) => setImmediate(resolve))
  // The window lets half of it go, which leaves less than what is enough and more than the room that is told of.
  expect(call.write(Buffer.alloc(limits.streamWindow + (200 << 10)))).toBe(false)
  let drained = false
  call.once('drain', () => (drained = true))
  await expect.poll(() => call.writableLength).toBe(200 << 10)
  expect(drained).toBe(false)
  expect(call.write(Buffer.alloc(1))).toBe(false)
  calls[0]!.resume()
  await expect.poll(() => drained).toBe(true)
})

test('a call beyond what the server allows waits for its turn', async () => {
  const { client, server } = pair()
  const calls: Http2Stream[] = []
  server.on('stream', (stream) => calls.push(stream))
  await once(client, 'settings')
  const streams = Array.from({ length: 11 }, () => client.request(request))
  while (calls.length < 10) await new Promise((resolve) => setImmediate(resolve))
  expect(streams[10]!.id).toBe(0)
  calls[0]!.respond([':status', '200'], { endStream: true })
  while (calls.length < 11) await new Promise((resolve) => setImmediate(resolve))
})

test('the end of a connection ends its calls, and a new one is refused', async () => {
  const { client, server } = pair()
  server.on('stream', () => server.destroy())
  const call = client.request(request)
  await once(call, 'close')
  expect(client.destroyed).toBe(true)
  const late = client.request(request)
  await once(late, 'close')
  expect(late.rstCode).toBe(errorCodes.REFUSED_STREAM)
})

const calm = errorCodes.ENHANCE_YOUR_CALM

test.for<[string, (peer: Duplex) => void, number]>([
  [
    'calls that are given up at once',
    (peer) => {
      for (let id = 1; id < 6000; id += 2) {
        peer.write(Buffer.concat([headersFrame(id), numberFrame(frameTypes.RST_STREAM, id, errorCodes.CANCEL)]))
      }
    },
    calm,
  ],
  [
    'errors that make us give calls up',
    (peer) => {
      for (let id = 1; id < 6000; id += 2) {
        peer.write(Buffer.concat([headersFrame(id), numberFrame(frameTypes.WINDOW_UPDATE, id, 0)]))
      }
    },
    calm,
  ],
  [
    'headers of calls that have ended their side',
    (peer) => {
      const ended = (id: number): Buffer => Buffer.concat(headerFrames(id, encodeHeaders(request, false), true, 16_384))
      for (let id = 1; id < 6000; id += 2) peer.write(Buffer.concat([ended(id), ended(id)]))
    },
    calm,
  ],
  [
    'header blocks without end',
    (peer) => {
      peer.write(Buffer.concat([frameHeader(frameTypes.HEADERS, 0, 1, 0)]))
      for (let n = 0; n < 2000; n++) peer.write(frameHeader(frameTypes.CONTINUATION, 0, 1, 0))
    },
    calm,
  ],
  [
    'DATA without data',
    (peer) => {
      peer.write(headersFrame(1))
      for (let n = 0; n < 3000; n++) peer.write(frameHeader(frameTypes.DATA, 0, 1, 0))
    },
    calm,
  ],
  [
    'more than the window',
    (peer) => {
      peer.write(headersFrame(1))
      for (let n = 0; n < 10; n++) peer.write(Buffer.concat([frameHeader(0, 0, 1, 16_384), Buffer.alloc(16_384)]))
    },
    errorCodes.FLOW_CONTROL_ERROR,
  ],
  [
    'a window that overflows',
    (peer) => {
      for (let n = 0; n < 3; n++) peer.write(numberFrame(frameTypes.WINDOW_UPDATE, 0, 2 ** 31 - 1))
    },
    errorCodes.FLOW_CONTROL_ERROR,
  ],
])('%s end the connection', async ([, attack, code]) => {
  const { server, peer, goaway } = raw()
  attack(peer)
  await once(server, 'close')
  expect(goaway()).toBe(code)
})

const ofSize = (type: number, flag: number, id: number, size: number): Buffer =>
  Buffer.concat([frameHeader(type, flag, id, size), Buffer.alloc(size, 1)])
const { ACK, END_HEADERS, PADDED, PRIORITY } = flags

test.for<[string, number, number, number, number[]]>([
  ['SETTINGS', frameTypes.SETTINGS, 0, 0, [1, 5, 7]],
  ['an acknowledgement of SETTINGS', frameTypes.SETTINGS, ACK, 0, [1, 6]],
  ['PING', frameTypes.PING, 0, 0, [0, 7, 9]],
  ['an answer to PING', frameTypes.PING, ACK, 0, [0, 7, 9]],
  ['GOAWAY', frameTypes.GOAWAY, 0, 0, [0, 3, 7]],
  ['RST_STREAM', frameTypes.RST_STREAM, 0, 1, [0, 3, 5]],
  ['WINDOW_UPDATE of the connection', frameTypes.WINDOW_UPDATE, 0, 0, [0, 3, 5]],
  ['WINDOW_UPDATE of a call', frameTypes.WINDOW_UPDATE, 0, 1, [0, 3, 5]],
  ['HEADERS without the priority that they announce', frameTypes.HEADERS, PRIORITY | END_HEADERS, 3, [0, 4]],
  ['padded HEADERS without it', frameTypes.HEADERS, PADDED | PRIORITY | END_HEADERS, 3, [1, 5]],
  ['padded HEADERS that say nothing of the padding', frameTypes.HEADERS, PADDED | END_HEADERS, 3, [0]],
  ['padded DATA that say nothing of the padding', frameTypes.DATA, PADDED, 1, [0]],
])('a frame of a wrong size ends the connection: %s', async ([, type, flag, id, sizes]) => {
  for (const size of sizes) {
    const { peer, goaway } = raw()
    peer.write(headersFrame(1))
    peer.write(ofSize(type, flag, id, size))
    await expect.poll(goaway, { message: `${size} bytes`, timeout: 5000 }).toBe(errorCodes.FRAME_SIZE_ERROR)
  }
})

test.for([0, 4, 6])('a PRIORITY of %s bytes ends its call, and not the connection', async (size) => {
  const { server, peer, calls, reset } = raw()
  peer.write(headersFrame(1))
  peer.write(ofSize(frameTypes.PRIORITY, 0, 1, size))
  await expect.poll(reset, { timeout: 5000 }).toBe(errorCodes.FRAME_SIZE_ERROR)
  expect([server.destroyed, calls[0]!.rstCode]).toEqual([false, errorCodes.FRAME_SIZE_ERROR])
})

/** A peer that writes what it is given for each turn, and reads nothing. */
async function unread(next: () => Buffer): Promise<Http2Server> {
  const [peer, far] = duplexPair({ highWaterMark: 600 << 10 })
  const server = new Http2Server(far, limits)
  open.push(server)
  peer.on('error', () => undefined)
  peer.write(Buffer.concat([preface, frameHeader(frameTypes.SETTINGS, 0, 0, 0)]))
  server.on('stream', (stream) => {
    stream.respond([':status', '200', 'grpc-message', 'no '.repeat(100)], { endStream: true })
  })
  const timer = setInterval(() => peer.writable && peer.write(next()), 0)
  await once(server, 'close')
  clearInterval(timer)
  return server
}

test('PINGs whose answers nobody reads end the connection', async () => {
  const many = Buffer.concat(Array.from({ length: 1000 }, () => pingFrame(Buffer.alloc(8), false)))
  expect((await unread(() => many)).reason?.message).toContain('too many frames')
})

test('calls whose refusals nobody reads end the connection', async () => {
  let id = -1
  const block = encodeHeaders(request, false)
  const call = (): Buffer => Buffer.concat(headerFrames((id += 2), block, true, 16_384))
  const server = await unread(() => Buffer.concat(Array.from({ length: 500 }, call)))
  expect(server.reason?.message).toContain('too many frames')
})

test('what follows of a call that came after our GOAWAY is ignored', async () => {
  const { server, peer, calls, goaway } = raw()
  peer.write(headersFrame(1))
  while (calls.length === 0) await new Promise((resolve) => setImmediate(resolve))
  server.shutdown()
  peer.write(Buffer.concat([headersFrame(3), frameHeader(frameTypes.DATA, 0, 3, 1), Buffer.alloc(1)]))
  peer.write(Buffer.concat([frameHeader(frameTypes.DATA, 1, 1, 1), Buffer.alloc(1)]))
  calls[0]!.resume()
  await once(calls[0]!, 'end')
  expect(calls).toHaveLength(1)
  expect(goaway()).toBe(errorCodes.NO_ERROR)
})

test('a connection that ends well lets the last answer leave, however slow the line is', async () => {
  const size = 400 << 10
  const [near, far] = slowLine(size)
  const server = new Http2Server(far, { ...limits, streamWindow: 1 << 20 })
  const client = new Http2Client(near, { streamWindow: 1 << 20, maxHeaderListSize: 16_384 })
  open.push(server, client)
  client.setWindow(16 << 20)
  server.on('stream', (stream) => {
    stream.resume()
    stream.respond([':status', '200'])
    stream.end(Buffer.alloc(size), ['grpc-status', '0'])
    stream.on('close', () => server.shutdown())
  })
  const call = client.request(request)
  call.end(Buffer.from('x'))
  const seen = { bytes: 0, trailers: false }
  call.on('data', (chunk) => (seen.bytes += chunk.length))
  call.on('trailers', () => (seen.trailers = true))
  await once(call, 'close')
  expect(seen).toEqual({ bytes: size, trailers: true })
  await once(server, 'close')
})

/** A pair of ends; what the second writes needs a second and a half for so many bytes to arrive. */
function slowLine(bytes: number): [Duplex, Duplex] {
  const [near, entry] = duplexPair()
  const piece = Math.ceil(bytes / 15)
  const far = new Duplex({
    read() {},
    write(chunk: Buffer, _, done) {
      const next = (at: number): void => {
        if (at >= chunk.length) return done()
        setTimeout(() => {
          if (far.destroyed) return done()
          entry.write(chunk.subarray(at, at + piece))
          next(at + piece)
        }, 100)
      }
      next(0)
    },
    final(done) {
      entry.end()
      done()
    },
    destroy(error, done) {
      entry.destroy()
      done(error)
    },
  })
  entry.on('data', (chunk) => far.push(chunk))
  return [near, far]
}

test('a million tiny pieces that nobody reads do not become a million objects', async () => {
  const { server, peer, calls } = raw()
  server.setWindow(16 << 20)
  peer.write(headersFrame(1))
  const pieces = Buffer.concat(
    Array.from({ length: 1000 }, () => Buffer.concat([frameHeader(0, 0, 1, 1), Buffer.alloc(1)])),
  )
  for (let n = 0; n < 200; n++) peer.write(pieces)
  while (calls.length === 0) await new Promise((resolve) => setImmediate(resolve))
  await new Promise((resolve) => peer.write(pingFrame(Buffer.alloc(8), false), resolve))
  const read = { chunks: 0, bytes: 0 }
  calls[0]!.on('data', (chunk) => {
    read.chunks++
    read.bytes += chunk.length
  })
  while (read.bytes < 200_000) await new Promise((resolve) => setImmediate(resolve))
  expect(read.chunks).toBeLessThan(100)
})

test('a GOAWAY of the server ends the calls it has not seen and no others', async () => {
  const [near, peer] = duplexPair()
  const client = new Http2Client(near, { streamWindow: 65_535, maxHeaderListSize: 16_384 })
  open.push(client)
  peer.resume()
  peer.write(frameHeader(frameTypes.SETTINGS, 0, 0, 0))
  const [first, second] = [client.request(request), client.request(request)]
  peer.write(goawayFrame(1, errorCodes.NO_ERROR, ''))
  await once(second, 'close')
  expect(second.rstCode).toBe(errorCodes.REFUSED_STREAM)
  expect(first.closed).toBe(false)
  expect(client.closing).toBe(true)
})

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** A client whose server reads nothing any more, once `before` has run and a call has filled the socket. */
async function clogged<T>(before: (client: Http2Client) => T) {
  const [near, peer] = duplexPair()
  const client = new Http2Client(near, { streamWindow: 65_535, maxHeaderListSize: 16_384 })
  open.push(client)
  const own = {
    role: 'client',
    initialWindowSize: 4 << 20,
    maxConcurrentStreams: 0,
    maxHeaderListSize: 65_536,
  } as const
  peer.write(Buffer.concat([settingsFrame(own), numberFrame(frameTypes.WINDOW_UPDATE, 0, 4 << 20)]))
  await once(client, 'settings')
  const calls = before(client)
  const large = client.request(request)
  for (let n = 0; n < 20; n++) {
    large.write(Buffer.alloc(64 << 10))
    await turn()
  }
  expect(near.writableLength).toBeGreaterThanOrEqual(512 << 10)
  return { client, peer, calls, waiting: () => near.writableLength }
}

test('calls that we give up while the server reads nothing are not its fault', async () => {
  const { client, calls } = await clogged((one) => Array.from({ length: 10_001 }, () => one.request(request)))
  for (const call of calls) call.close(errorCodes.CANCEL)
  await turn()
  expect(client.closing).toBe(false)
})

test('calls that come while the server reads nothing wait for it, and leave nothing behind when they go', async () => {
  const { client, peer, waiting } = await clogged(() => undefined)
  const before = waiting()
  for (let n = 0; n < 10_001; n++) {
    const call = client.request(request)
    if (n % 100 === 0) await turn()
    call.close(errorCodes.CANCEL)
  }
  await turn()
  expect(client.closing).toBe(false)
  expect(waiting() - before).toBeLessThan(1000)
  const late = client.request(request)
  late.write(Buffer.alloc(100))
  expect(late.id).toBe(0)
  peer.resume()
  await expect.poll(() => late.writableLength).toBe(0)
  expect(late.id).toBeGreaterThan(0)
})

/** What answers of so many bytes, to calls that nobody reads and then to one that is read, bring to a connection with shared windows. */
async function answersOf(stuck: number, size: number, allowance: Allowance) {
  const [near, far] = duplexPair()
  const server = new Http2Server(far, { ...limits, maxConcurrentStreams: 100 })
  const client = new Http2Client(near, { streamWindow: 65_535, maxHeaderListSize: 16_384, shared: true })
  open.push(client, server)
  client.setWindow(1 << 20)
  const answers: Http2Stream[] = []
  server.on('stream', (stream) => {
    stream.resume()
    stream.respond([':status', '200'])
    stream.end(Buffer.alloc(size), ['grpc-status', '0'])
    answers.push(stream)
  })
  await once(client, 'settings')
  const unread = Array.from({ length: stuck }, () => client.request(request, allowance))
  const read = client.request(request, allowance)
  read.end()
  const got = { bytes: 0 }
  read.on('data', (chunk) => (got.bytes += chunk.length))
  await once(read, 'close')
  const held = answers.slice(0, stuck).reduce((sum, answer) => sum + size - answer.writableLength, 0)
  return { unread, got: got.bytes, held }
}

test('on a shared connection what some leave unread holds up nobody, and is little', async () => {
  const size = 4 << 20
  // Ten times the connection's window is asked for and not read.
  const { got, held } = await answersOf(20, size, { left: 0, each: 1 << 20, waiting: 0 })
  expect(got).toBe(size)
  expect(held).toBe(20 * 65_535)
})

test('on a shared connection what one user has waiting leaves another as much room as before', async () => {
  const { client } = pair()
  await once(client, 'settings')
  const [many, other] = [1, 2].map(() => ({ left: 0, each: 0, waiting: 0 }))
  const calls = Array.from({ length: 9 }, () => client.request(request, many))
  const room = calls.map((call) => call.write(Buffer.alloc(1 << 20)) || call.write(Buffer.alloc(1)))
  expect(room).not.toContain(true)
  const late = client.request(request, many)
  expect(late.write(Buffer.alloc(100 << 10))).toBe(false)
  expect(client.request(request, other).write(Buffer.alloc(100 << 10))).toBe(true)
  expect(many!.waiting).toBeGreaterThan(8 << 20)
  for (const call of calls) call.close()
  expect(many!.waiting).toBe(100 << 10)
  client.destroy()
  expect([many!.waiting, other!.waiting]).toEqual([0, 0])
})

test('long calls of a shared connection have larger windows, as many as their user may have', async () => {
  const allowance = { left: 2 << 20, each: 1 << 20, waiting: 0 }
  const { unread } = await answersOf(3, 4 << 20, allowance)
  expect(allowance.left, 'the call that has ended gave it back').toBe(2 << 20)
  for (const call of unread) {
    // Read until it is long, and then no more.
    const read = { bytes: 0 }
    call.on('data', (chunk) => {
      read.bytes += chunk.length
      if (read.bytes > 40_000) call.pause()
    })
    while (read.bytes <= 40_000) await new Promise((resolve) => setImmediate(resolve))
  }
  expect(allowance.left).toBe(0)
  const closed = unread.map((call) => once(call, 'close'))
  for (const call of unread) call.close()
  await Promise.all(closed)
  expect(allowance.left).toBe(2 << 20)
})
