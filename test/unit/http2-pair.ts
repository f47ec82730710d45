import { duplexPair } from 'node:stream'
import { afterEach } from 'vitest'
import { Http2Client } from '../../src/gateway/http2/client.ts'
import { Http2Server } from '../../src/gateway/http2/server.ts'

export const limits = { streamWindow: 256 << 10, maxConcurrentStreams: 10, maxHeaderListSize: 16 << 10 }
/** Headers of a call. */
export const request = [':method', 'POST', ':scheme', 'http', ':path', '/x', ':authority', 'a']
/** What ends with the test. */
export const open: { destroy(): void }[] = []

afterEach(() => {
  for (const one of open.splice(0)) one.destroy()
})

/** A client and the server that it is connected to. */
export function pair(): { client: Http2Client; server: Http2Server } {
  const [near, far] = duplexPair()
  const server = new Http2Server(far, limits)
  const client = new Http2Client(near, { streamWindow: 256 << 10, maxHeaderListSize: 16 << 10 })
  open.push(client, server)
  return { client, server }
}
