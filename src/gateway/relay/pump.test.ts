import { once } from 'node:events'
import { type Duplex, duplexPair } from 'node:stream'
import { afterEach, expect, test, vi } from 'vitest'
import { Http2Client } from '../http2/client.ts'
import { Http2Server } from '../http2/server.ts'
import type { Http2Stream } from '../http2/stream.ts'
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
