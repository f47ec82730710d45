import { once } from 'node:events'
import { duplexPair } from 'node:stream'
import { afterEach, expect, test } from 'vitest'
import { createLogger } from '../../kernel/log.ts'
import { Http2Client } from '../http2/client.ts'
import { frameHeader, frameTypes, headerFrames, preface } from '../http2/frames.ts'
import { encodeHeaders } from '../http2/hpack/encoder.ts'
import { Http2Server } from '../http2/server.ts'
import type { RawHeaders } from '../http2/raw-headers.ts'
import type { Http2Stream } from '../http2/stream.ts'
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
  /** Requests that are not over. */
  const pending = new Set<Http2Stream>()
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
      pending.add(stream)
      stream.once('close', () => pending.delete(stream))
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
  /** A request whose body comes in two pieces. */
  const inPieces = async (ask: ReturnType<typeof client>): Promise<string | undefined> => {
    const { call, status } = ask()
    await new Promise((resolve) => setTimeout(resolve, 20))
    call.end(Buffer.from('}'))
    return status
  }
  return { handled, pending, connection, client, inPieces }
}

/** As many as one connection may have, of as many as one address may have, and so on. */
const fill = (client: ReturnType<typeof setup>['client']) =>
  Array.from({ length: 64 }, (_, n) => client(`10.0.0.${n >> 2}`)).flatMap((ask) => [ask(), ask(), ask(), ask()])

test('so many requests are read at a time and no more, of whatever strangers; those that end make room', async () => {
  const { handled, client, inPieces } = setup()
  const held = fill(client)
  const late = client('10.0.1.1')
  expect(await late().status).toBe('503')
  held[0]!.call.end(Buffer.from('}'))
  expect(await held[0]!.status).toBe('200')
  held[1]!.call.close()
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(await Promise.all([inPieces(late), inPieces(late), inPieces(late)])).toEqual(['200', '200', '503'])
  expect(await inPieces(late)).toBe('200')
  expect(new Set(handled)).toEqual(new Set([2]))
})

test('who takes all of that keeps no agent from asking, and nobody whose request is there as a whole', async () => {
  const { handled, connection, client, inPieces } = setup()
  fill(client)
  expect(await inPieces(client('10.0.1.1'))).toBe('503')
  expect(await inPieces(client('10.0.1.2', true))).toBe('200')
  const { call, status } = client('10.0.1.4')()
  call.end(Buffer.from('}'))
  expect(await status).toBe('200')
  const peer = connection('10.0.1.3')
  peer.resume()
  const ended = headerFrames(1, encodeHeaders(post, false), true, 16_384)
  peer.write(Buffer.concat([preface, frameHeader(frameTypes.SETTINGS, 0, 0, 0), ...ended]))
  await expect.poll(() => handled).toEqual([2, 2, 0])
})

test('one connection and one address have a part of that each', async () => {
  const { client, inPieces } = setup()
  const hold = (): ReturnType<typeof client> => {
    const ask = client('10.0.0.1')
    for (let i = 0; i < 4; i++) ask()
    return ask
  }
  const first = hold()
  expect(await inPieces(first), 'of a connection').toBe('503')
  for (let n = 1; n < 4; n++) hold()
  expect(await inPieces(client('10.0.0.1')), 'of an address').toBe('503')
  expect(await inPieces(client('10.0.0.2'))).toBe('200')
})

test('requests that come whole in one read are all answered, and none stays open', async () => {
  const { handled, pending, client } = setup()
  const ask = client('10.0.0.1')
  const asked = Array.from({ length: 8 }, ask)
  for (const { call } of asked) call.end(Buffer.from('}'))
  expect(await Promise.all(asked.map(({ status }) => status))).toEqual(Array(8).fill('200'))
  expect(handled).toEqual(Array(8).fill(2))
  await expect.poll(() => pending.size).toBe(0)
})
