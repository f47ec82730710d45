import { once } from 'node:events'
import { duplexPair } from 'node:stream'
import { afterEach, expect, test } from 'vitest'
import { createLogger } from '../../kernel/log.ts'
import { Http2Client } from '../http2/client.ts'
import { frameHeader, frameTypes, headerFrames, preface } from '../http2/frames.ts'
import { encodeHeaders } from '../http2/hpack/encoder.ts'
import { Http2Server } from '../http2/server.ts'
import type { RawHeaders } from '../http2/raw-headers.ts'
import { headerObject } from './headers.ts'
import { createHttpAnswers } from './http.ts'

const post = [':method', 'POST', ':scheme', 'https', ':path', '/x', ':authority', 'a']
const limits = { streamWindow: 65_535, maxHeaderListSize: 16_384, maxConcurrentStreams: 1000 }
const signal = new AbortController().signal
const open: { destroy(): void }[] = []

afterEach(() => {
  for (const one of open.splice(0)) one.destroy()
})

function setup() {
  const handled: number[] = []
  const http = createHttpAnswers(
    { 'POST /x': ({ body }) => Promise.resolve({ status: 200, body: String(handled.push(body.length)) }) },
    createLogger({ level: 'silent' }),
  )
  /** The server's side of a connection, and the way to it. */
  const connection = (remoteAddress: string, isAgent = false) => {
    const [near, far] = duplexPair()
    const session = new Http2Server(far, limits)
    open.push(session)
    const agent = isAgent ? { namespace: 'insitu-system', node: 'a' } : undefined
    session.on('stream', (stream, raw) => {
      void http.answer(stream, headerObject(raw), { remoteAddress, agent, signal, secure: true, connection: session })
    })
    return near
  }
  /** A client that begins requests. */
  const client = (remoteAddress: string, isAgent = false) => {
    const session = new Http2Client(connection(remoteAddress, isAgent), limits)
    open.push(session)
    return () => {
      const call = session.request(post)
      call.resume()
      const status = once(call, 'response').then((args) => (args as [RawHeaders])[0][1])
      call.write(Buffer.from('{'))
      return { call, status }
    }
  }
  const whole = (ask: ReturnType<typeof client>): Promise<string | undefined> => {
    const { call, status } = ask()
    call.end(Buffer.from('}'))
    return status
  }
  return { handled, connection, client, whole }
}

/** As many as one connection may have, of as many as one address may have, and so on. */
const fill = (client: ReturnType<typeof setup>['client']) =>
  Array.from({ length: 64 }, (_, n) => client(`10.0.0.${n >> 2}`)).flatMap((ask) => [ask(), ask(), ask(), ask()])

test('so many requests are read at a time and no more, of whatever strangers; those that end make room', async () => {
  const { handled, client, whole } = setup()
  const held = fill(client)
  const late = client('10.0.1.1')
  expect(await late().status).toBe('503')
  held[0]!.call.end(Buffer.from('}'))
  expect(await held[0]!.status).toBe('200')
  held[1]!.call.close()
  const next = [late(), late(), late()]
  for (const { call } of next) call.end(Buffer.from('}'))
  expect((await Promise.all(next.map(({ status }) => status))).filter((status) => status === '200')).not.toEqual([])
  expect(await whole(late)).toBe('200')
  expect(new Set(handled)).toEqual(new Set([2]))
})

test('who takes all of that keeps no agent from asking, and nobody whose request has no body', async () => {
  const { handled, connection, client, whole } = setup()
  fill(client)
  expect(await whole(client('10.0.1.1'))).toBe('503')
  expect(await whole(client('10.0.1.2', true))).toBe('200')
  const peer = connection('10.0.1.3')
  peer.resume()
  const ended = headerFrames(1, encodeHeaders(post, false), true, 16_384)
  peer.write(Buffer.concat([preface, frameHeader(frameTypes.SETTINGS, 0, 0, 0), ...ended]))
  await expect.poll(() => handled).toEqual([2, 0])
})

test('one connection and one address have a part of that each', async () => {
  const { client, whole } = setup()
  const hold = (): ReturnType<typeof client> => {
    const ask = client('10.0.0.1')
    for (let i = 0; i < 4; i++) ask()
    return ask
  }
  const first = hold()
  expect(await whole(first), 'of a connection').toBe('503')
  for (let n = 1; n < 4; n++) hold()
  expect(await whole(client('10.0.0.1')), 'of an address').toBe('503')
  expect(await whole(client('10.0.0.2'))).toBe('200')
})
