import { once } from 'node:events'
import { duplexPair } from 'node:stream'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { afterEach, expect, test, vi } from 'vitest'
import { ExecMessageSchema } from '../../buildkit/gen/gateway_pb.ts'
import { type BodyRoom, frame, unframe } from '../../kernel/grpc/framing.ts'
import { fieldOf } from '../../kernel/grpc/wire.ts'
import { Http2Client } from '../http2/client.ts'
import { Http2Server } from '../http2/server.ts'
import type { Http2Stream } from '../http2/stream.ts'
import type { Caller } from '../listener/caller.ts'
import { processesWith } from './exec-process.ts'
import { header, type RawHeaders } from './headers.ts'
import { createIdentityLimit } from './identity-limit.ts'
import { pump } from './pump.ts'

const open: { destroy(): void }[] = []

afterEach(() => {
  for (const one of open.splice(0)) one.destroy()
})

const mib = 1 << 20
const windows = { streamWindow: 4 * mib, maxConcurrentStreams: 10, maxHeaderListSize: 16 << 10 }

function connection(): { client: Http2Client; server: Http2Server } {
  const [near, far] = duplexPair()
  const server = new Http2Server(far, windows)
  const client = new Http2Client(near, windows)
  server.setWindow(16 * mib)
  open.push(client, server)
  return { client, server }
}

const caller: Caller = { kind: 'loopback', address: '127.0.0.1' }

/** Calls of one identity that are relayed, and what their daemon gets of them. */
function relayed(messagesPerIdentity: number) {
  const [down, up] = [connection(), connection()]
  const { messages } = createIdentityLimit({
    connectionsPerIdentity: 1,
    messageSize: 64 * mib,
    messagesPerIdentity,
  }).claim(caller)
  let taken = 0
  const room: BodyRoom = {
    each: messages.each,
    take(bytes) {
      messages.take(bytes)
      taken += bytes
    },
    give(bytes) {
      messages.give(bytes)
      taken -= bytes
    },
  }
  down.server.on('stream', (stream, headers) => {
    const asked = processesWith({ stream, messages: room }, { HTTP_PROXY: 'http://p' })
    void pump(stream, up.client.request(headers), { asked, lost: () => undefined })
  })
  const arrived: Buffer[] = []
  up.server.on('stream', (stream) => stream.on('data', (chunk) => arrived.push(chunk)))
  const call = (): Http2Stream => {
    const stream = down.client.request([':method', 'POST', ':scheme', 'http', ':path', '/x', ':authority', 'a'])
    stream.resume()
    return stream
  }
  return { call, arrived, held: () => taken }
}

/** The beginning of a message that says it has 900 KiB. */
const unfinished = (bytes: number): Buffer => frame(Buffer.alloc(900 << 10)).subarray(0, bytes)

test('messages that are not finished count for all calls of an identity, until their call is closed', async () => {
  const { call, held } = relayed(mib)
  const first = call()
  first.write(unfinished(700 << 10))
  await vi.waitFor(() => expect(held()).toBe(700 << 10))
  const second = call()
  second.write(unfinished(700 << 10))
  const [headers] = (await once(second, 'response')) as [RawHeaders]
  expect(header(headers, 'grpc-status')).toBe('8')
  expect(header(headers, 'grpc-message')).toContain('loopback has calls with 1 MiB of messages open')
  await vi.waitFor(() => expect(held()).toBe(700 << 10))
  first.close(8)
  await vi.waitFor(() => expect(held()).toBe(0))
  const third = call()
  third.write(unfinished(700 << 10))
  await vi.waitFor(() => expect(held()).toBe(700 << 10))
  third.close(8)
  await vi.waitFor(() => expect(held()).toBe(0))
})

test('input passes in messages of any size, and the process after it gets its variables', async () => {
  const { call, arrived, held } = relayed(2 * mib)
  const input = frame(fieldOf(3, Buffer.alloc(3 * mib)))
  const init = toBinary(ExecMessageSchema, create(ExecMessageSchema, { init: { meta: { env: ['A=b'] } } }))
  const stream = call()
  stream.write(Buffer.concat([input, frame(init)]))
  await vi.waitFor(() => expect(Buffer.concat(arrived).length).toBeGreaterThan(input.length + init.length))
  const all = Buffer.concat(arrived)
  expect(all.subarray(0, input.length).equals(input)).toBe(true)
  expect(fromBinary(ExecMessageSchema, unframe(all.subarray(input.length))).init?.meta?.env).toEqual([
    'A=b',
    'HTTP_PROXY=http://p',
    'http_proxy=http://p',
  ])
  expect(held()).toBe(0)
})
