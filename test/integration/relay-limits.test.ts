import * as http2 from 'node:http2'
import { connect, type Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { defaultLimits, type LimitsConfig } from '../../src/api/limits.ts'
import { startGateway, type TestGateway } from './fixtures/gateway.ts'
import { startTcpProxy } from './fixtures/tcp-proxy.ts'
import { until } from './fixtures/until.ts'

// Limits of the wire itself, by peers that are no gRPC clients. The node behind the gateway is never reached.

const open: (() => unknown)[] = []

afterEach(async () => {
  for (const close of open.splice(0).toReversed()) await close()
})

async function gatewayWith(limits: Partial<LimitsConfig>): Promise<TestGateway> {
  const config = { limits: { ...defaultLimits, ...limits } }
  const gateway = await startGateway({ nodes: { none: { socket: '/nowhere.sock' } }, config })
  open.push(() => gateway.close())
  return gateway
}

function client(port: number): http2.ClientHttp2Session {
  const session = http2.connect('http://door', { createConnection: () => connect(port, '127.0.0.1') })
  session.on('error', () => undefined)
  open.push(() => session.destroy())
  return session
}

const solve = '/moby.buildkit.v1.Control/Solve'

interface Answer {
  readonly status: string
  readonly message: string
  readonly code: number | undefined
}

function call(session: http2.ClientHttp2Session, extra: Record<string, string> = {}, body = Buffer.alloc(5)) {
  const stream = session.request({
    ':method': 'POST',
    ':path': solve,
    'content-type': 'application/grpc',
    ...extra,
  })
  stream.on('error', () => undefined)
  let answer = { status: '', message: '' }
  const note = (headers: http2.IncomingHttpHeaders): void => {
    if (headers['grpc-status'] === undefined) return
    answer = { status: String(headers['grpc-status']), message: String(headers['grpc-message']) }
  }
  stream.on('response', note)
  stream.on('trailers', note)
  stream.resume()
  stream.end(body)
  return new Promise<Answer>((resolve) => stream.on('close', () => resolve({ ...answer, code: stream.rstCode })))
}

test('a message that is too large is refused with its limit', async () => {
  const gateway = await gatewayWith({ messageSize: 1 << 20 })
  const answer = await call(client(gateway.port), {}, Buffer.alloc(2 << 20))
  expect(answer).toMatchObject({ status: '8', message: expect.stringContaining('larger than the 1 MiB') })
})

test('the messages of all open calls of an identity have a limit, and those that end make room', async () => {
  const gateway = await gatewayWith({ messagesPerIdentity: 1 << 20 })
  const [session, other] = [client(gateway.port), client(gateway.port)]
  const held = session.request({ ':method': 'POST', ':path': solve, 'content-type': 'application/grpc' })
  held.on('error', () => undefined)
  held.write(Buffer.alloc(700 << 10))
  const refused = { status: '8', message: expect.stringContaining('calls with 1 MiB of messages open') }
  await until('the first message to have come', async () => {
    const answer = await call(other, {}, Buffer.alloc(500 << 10))
    return answer.status === '8' ? answer : undefined
  }).then((answer) => expect(answer).toMatchObject(refused))
  held.close(http2.constants.NGHTTP2_CANCEL)
  await until('room', async () => (await call(other, {}, Buffer.alloc(500 << 10))).status !== '8' || undefined)
})

test('header fields that are too large are refused with their limit, and the connection goes on', async () => {
  const gateway = await gatewayWith({ headerSize: 8 << 10 })
  const session = client(gateway.port)
  const large = await call(session, { 'x-large': 'x'.repeat(20 << 10) })
  expect(large).toMatchObject({ status: '8', message: expect.stringContaining('more than 8 KiB of header fields') })
  expect((await call(session)).message).not.toContain('header fields')
})

test('a client is told how many calls a connection may have', async () => {
  const gateway = await gatewayWith({ streamsPerConnection: 2 })
  const session = client(gateway.port)
  await new Promise((resolve) => session.once('remoteSettings', resolve))
  expect(session.remoteSettings.maxConcurrentStreams).toBe(2)
})

test('one identity has so many connections, and may have another when one ends', async () => {
  const gateway = await gatewayWith({ connectionsPerIdentity: 2 })
  const [first, second] = [client(gateway.port), client(gateway.port)]
  await Promise.all([call(first), call(second)])
  const refused = await call(client(gateway.port))
  expect(refused).toMatchObject({ status: '8', message: expect.stringContaining('loopback has 2 connections open') })
  expect(refused.message).toContain('gateway.limits.connectionsPerIdentity')
  first.destroy()
  await until('the place to be free', async () => !(await call(client(gateway.port))).message.includes('2 connections'))
})

test('handshakes that do not end are cut off in time, and only so many are open at once', async () => {
  const gateway = await gatewayWith({ handshakeTimeout: 5, pendingHandshakes: 3 })
  const silent = await Promise.all([1, 2, 3].map(() => socketTo(gateway.port)))
  const fourth = await socketTo(gateway.port)
  const order: string[] = []
  await Promise.all([
    ...silent.map(async (socket) => closed(socket).then(() => order.push('silent'))),
    closed(fourth).then(() => order.push('fourth')),
  ])
  expect(order).toEqual(['fourth', 'silent', 'silent', 'silent'])
  expect((await call(client(gateway.port))).status).not.toBe('')
})

test('a client that does not answer is gone', async () => {
  const gateway = await gatewayWith({ keepalive: 1, keepaliveTimeout: 1 })
  const proxy = await startTcpProxy(gateway.port)
  open.push(() => proxy.close())
  const session = client(proxy.port)
  await call(session)
  proxy.freeze()
  await until('the gateway to give it up', () => gateway.log().includes('the client does not answer'))
})

const socketTo = (port: number): Promise<Socket> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(socket))
    socket.on('error', () => undefined)
    open.push(() => socket.destroy())
  })

const closed = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    if (socket.destroyed) return resolve()
    socket.once('close', () => resolve())
    socket.resume()
  })
