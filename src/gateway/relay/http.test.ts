import { once } from 'node:events'
import { duplexPair } from 'node:stream'
import { expect, test } from 'vitest'
import { createLogger } from '../../kernel/log.ts'
import { Http2Client } from '../http2/client.ts'
import { Http2Server } from '../http2/server.ts'
import type { RawHeaders } from '../http2/raw-headers.ts'
import { headerObject } from './headers.ts'
import { createHttpAnswers } from './http.ts'

const post = [':method', 'POST', ':scheme', 'https', ':path', '/x', ':authority', 'a']

test('so many requests are read at a time and no more, whoever sends them; those that end make room', async () => {
  const [near, far] = duplexPair()
  const limits = { streamWindow: 65_535, maxHeaderListSize: 16_384, maxConcurrentStreams: 1000 }
  const server = new Http2Server(far, limits)
  const client = new Http2Client(near, limits)
  const handled: number[] = []
  const http = createHttpAnswers(
    { 'POST /x': ({ body }) => Promise.resolve({ status: 200, body: String(handled.push(body.length)) }) },
    createLogger({ level: 'silent' }),
  )
  const signal = new AbortController().signal
  server.on('stream', (stream, raw) => {
    const from = { remoteAddress: '10.0.0.1', agent: undefined, signal, secure: true }
    void http.answer(stream, headerObject(raw), from)
  })
  const ask = () => {
    const call = client.request(post)
    call.resume()
    const status = once(call, 'response').then((args) => (args as [RawHeaders])[0][1])
    return { call, status }
  }
  const held = Array.from({ length: 256 }, ask)
  for (const { call } of held) call.write(Buffer.from('{'))
  expect(await ask().status).toBe('503')
  held[0]!.call.end(Buffer.from('}'))
  expect(await held[0]!.status).toBe('200')
  held[1]!.call.close()
  const next = [ask(), ask(), ask()]
  for (const { call } of next) call.end(Buffer.from('{}'))
  expect((await Promise.all(next.map(({ status }) => status))).filter((status) => status === '200')).not.toEqual([])
  expect(new Set(handled)).toEqual(new Set([2]))
  client.destroy()
  server.destroy()
})
