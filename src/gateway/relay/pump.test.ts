import { once } from 'node:events'
import { type Duplex, duplexPair } from 'node:stream'
import { afterEach, expect, test } from 'vitest'
import { Http2Client } from '../http2/client.ts'
import { Http2Server } from '../http2/server.ts'
import { pump } from './pump.ts'

const limits = { streamWindow: 256 << 10, maxConcurrentStreams: 10, maxHeaderListSize: 16 << 10 }
const request = [':method', 'POST', ':scheme', 'http', ':path', '/x', ':authority', 'a']
const open: { destroy(): void }[] = []

afterEach(() => {
  for (const one of open.splice(0)) one.destroy()
})

/** Both ends of a connection, and what its server's side and its client's side have written, write by write. */
function connection(): { client: Http2Client; server: Http2Server; sent: Buffer[]; answered: Buffer[] } {
  const [near, far] = duplexPair()
  const server = new Http2Server(far, limits)
  const client = new Http2Client(near, limits)
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
