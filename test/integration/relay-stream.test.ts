import * as http2 from 'node:http2'
import { type AddressInfo, connect } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { transparentGateway } from '../../src/api/config.ts'
import { createFixedDirectory } from '../../src/gateway/directory/fixed.ts'
import { createGateway, type Gateway } from '../../src/gateway/gateway.ts'
import { createFixedPlacer } from '../../src/gateway/placement/fixed.ts'
import { createLogger } from '../../src/kernel/log.ts'
import { until } from './fixtures/until.ts'

// What real clients and daemons do only when something goes wrong, done on purpose by an HTTP/2 peer on either side.

type Handler = (stream: http2.ServerHttp2Stream, raw: readonly string[]) => void

let handler: Handler = () => undefined
let peer: http2.Http2Server
const peerSessions = new Set<http2.ServerHttp2Session>()
let gateway: Gateway
let client: http2.ClientHttp2Session
let other: http2.ClientHttp2Session

beforeAll(async () => {
  peer = http2.createServer({ settings: { initialWindowSize: 4 << 20 }, maxSessionMemory: 1000 })
  peer.on('session', (session) => peerSessions.add(session))
  peer.on('stream', (stream, _headers, _flags, raw?: readonly string[]) => {
    stream.on('error', () => undefined)
    handler(stream, raw ?? [])
  })
  const port = await new Promise<number>((resolve) => {
    peer.listen(0, '127.0.0.1', () => resolve((peer.address() as AddressInfo).port))
  })
  const directory = createFixedDirectory([{ name: 'peer', address: { host: '127.0.0.1', port } }])
  gateway = await createGateway({
    listen: [{ kind: 'tcp', host: '127.0.0.1', port: 0 }],
    directory,
    placer: createFixedPlacer({ directory, running: () => 0 }),
    config: transparentGateway,
    logger: createLogger({ level: 'silent' }),
  })
  const address = gateway.addresses[0]
  if (address?.kind !== 'tcp') throw new Error('the gateway does not listen')
  const open = () => http2.connect('http://door', { createConnection: () => connect(address.port, '127.0.0.1') })
  client = open()
  other = open()
})

afterAll(async () => {
  client?.destroy()
  other?.destroy()
  await gateway?.close()
  for (const session of peerSessions) session.destroy()
  peer?.close()
})

function call(...extra: string[]): http2.ClientHttp2Stream {
  return callOver(client, ...extra)
}

function callOver(session: http2.ClientHttp2Session, ...extra: string[]): http2.ClientHttp2Stream {
  const stream = session.request([
    ...[':method', 'POST', ':scheme', 'http', ':authority', 'door'],
    ...[':path', '/moby.buildkit.v1.Control/DiskUsage', 'content-type', 'application/grpc'],
    ...extra,
  ])
  stream.on('error', () => undefined)
  return stream
}

interface End {
  readonly headers: readonly string[]
  readonly trailers: readonly string[]
  readonly body: Buffer
  readonly code: number | undefined
}

function ended(stream: http2.ClientHttp2Stream): Promise<End> {
  let headers: readonly string[] = []
  let trailers: readonly string[] = []
  const chunks: Buffer[] = []
  stream.on('response', (_, __, raw?: readonly string[]) => (headers = raw ?? []))
  stream.on('trailers', ((_: object, __: number, raw?: readonly string[]) => {
    trailers = raw ?? []
  }) as () => void)
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  return new Promise((resolve) => {
    stream.on('close', () => resolve({ headers, trailers, body: Buffer.concat(chunks), code: stream.rstCode }))
  })
}

test('header lines of one name stay lines, in requests, responses and trailers', async () => {
  let seen: readonly string[] = []
  handler = (stream, raw) => {
    seen = raw
    stream.respond([':status', '200', 'content-type', 'application/grpc', 'm', '1', 'm', '2'], {
      waitForTrailers: true,
    })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', t: ['a', 'b'] }))
    stream.resume()
    stream.on('end', () => stream.end('bye'))
  }
  const stream = call('x-docker-expose-session-grpc-method', '/a', 'x-docker-expose-session-grpc-method', '/b')
  stream.end('hello')
  const end = await ended(stream)
  expect(seen.filter((_, i) => seen[i - (i % 2)] === 'x-docker-expose-session-grpc-method')).toEqual(
    ['/a', '/b'].flatMap((v) => ['x-docker-expose-session-grpc-method', v]),
  )
  expect(seen[seen.indexOf(':authority') + 1]).toBe('localhost')
  expect(end.headers.join(' ')).toContain('m 1 m 2')
  expect(end.trailers.join(' ')).toBe('grpc-status 0 t a t b')
  expect(end.body.toString()).toBe('bye')
  expect(end.code).toBe(0)
})

test('a client that reads nothing of its answers leaves the connection that it shares to others', async () => {
  const size = 8 << 20
  handler = (stream) => {
    stream.respond({ ':status': 200 }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
    stream.end(Buffer.alloc(size))
  }
  const connections = peerSessions.size
  const unread = Array.from({ length: 20 }, () => call())
  for (const stream of unread) {
    stream.end()
    await new Promise((resolve) => stream.once('response', resolve))
  }
  for (let n = 0; n < 3; n++) {
    const stream = callOver(other)
    stream.end()
    expect((await ended(stream)).body).toHaveLength(size)
  }
  expect(peerSessions.size).toBe(Math.max(1, connections))
  for (const stream of unread) stream.close()
})

test('a trailers-only answer stays one', async () => {
  handler = (stream) => {
    stream.respond(
      { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '5', 'grpc-message': 'no' },
      {
        endStream: true,
      },
    )
  }
  const stream = call()
  stream.end('x')
  const end = await ended(stream)
  expect(end.headers.join(' ')).toContain('grpc-status 5 grpc-message no')
  expect(end.trailers).toEqual([])
})

test('a reset of the daemon reaches the client with its code', async () => {
  handler = (stream) => stream.close(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM)
  expect((await ended(call())).code).toBe(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM)
  handler = (stream) => {
    stream.respond({ ':status': 200 })
    stream.write('part')
    stream.once('data', () => stream.close(http2.constants.NGHTTP2_REFUSED_STREAM))
  }
  const stream = call()
  stream.write('go')
  expect((await ended(stream)).code).toBe(http2.constants.NGHTTP2_REFUSED_STREAM)
})

test('a reset of the client reaches the daemon with its code', async () => {
  let code: number | undefined
  let started = false
  handler = (stream) => {
    started = true
    stream.on('close', () => (code = stream.rstCode))
  }
  const stream = call()
  stream.write('x')
  await until('the call to arrive', () => started)
  stream.close(http2.constants.NGHTTP2_CANCEL)
  await until('the reset to arrive', () => code !== undefined)
  expect(code).toBe(http2.constants.NGHTTP2_CANCEL)
})

test('the daemon may end a call before the client has ended its side', async () => {
  handler = (stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
    stream.end('enough')
  }
  const stream = call()
  stream.write('I could go on')
  const end = await ended(stream)
  expect(end.body.toString()).toBe('enough')
  expect(end.trailers.join(' ')).toBe('grpc-status 0')
  expect(end.code).toBe(0)
})

test('each side may go on after the other has ended', async () => {
  handler = (stream) => {
    stream.respond({ ':status': 200 }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
    stream.resume()
    stream.on('end', () => {
      stream.write('after your end')
      stream.end()
    })
  }
  const stream = call()
  stream.end()
  expect((await ended(stream)).body.toString()).toBe('after your end')
})

test('a client that does not read stops the daemon from writing, and gets everything when it does', async () => {
  const total = 96 << 20
  let written = 0
  handler = (stream) => {
    stream.respond({ ':status': 200 }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
    const chunk = Buffer.alloc(64 << 10, 1)
    const write = (): void => {
      while (written < total) {
        written += chunk.length
        if (!stream.write(chunk)) return void stream.once('drain', write)
      }
      stream.end()
    }
    write()
  }
  const stream = call()
  stream.end()
  await new Promise((resolve) => stream.once('response', resolve))
  let before = -1
  await until('the daemon to be stopped', () => {
    const same = written === before
    before = written
    return same && written > 0
  })
  expect(written).toBeLessThan(32 << 20)
  expect((await ended(stream)).body.length).toBe(total)
})

test('a daemon whose connection ends gives every open call a status and a sentence', async () => {
  let started = 0
  handler = (stream) => {
    started++
    if (started > 1) stream.respond({ ':status': 200, 'content-type': 'application/grpc' })
  }
  const unanswered = call()
  unanswered.write('x')
  await until('the first call', () => started === 1)
  const answered = call()
  answered.write('x')
  const ends = Promise.all([ended(unanswered), ended(answered)])
  await new Promise((resolve) => answered.once('response', resolve))
  for (const session of peerSessions) session.destroy()
  const [first, second] = await ends
  expect(first.headers.join(' ')).toContain('grpc-status 14 grpc-message node peer: the connection to its build daemon')
  expect(second.trailers.join(' ')).toContain(
    'grpc-status 14 grpc-message node peer: the connection to its build daemon',
  )
})

test('after that the next call dials anew', async () => {
  handler = (stream) => stream.respond({ ':status': 200, 'grpc-status': '0' }, { endStream: true })
  const stream = call()
  stream.end()
  expect((await ended(stream)).headers.join(' ')).toContain('grpc-status 0')
})

test('what is not gRPC is told so, and keeps no call open', async () => {
  const stream = client.request({ ':method': 'POST', ':path': '/v1/certificate' }, { endStream: false })
  stream.on('error', () => undefined)
  stream.write('never ends')
  const end = await ended(stream)
  expect(end.headers.slice(0, 2)).toEqual([':status', '404'])
})
