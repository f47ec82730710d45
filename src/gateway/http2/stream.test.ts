import { once } from 'node:events'
import { duplexPair } from 'node:stream'
import { expect, test } from 'vitest'
import { limits, open, pair, request } from '../../../test/unit/http2-pair.ts'
import { errorCodes } from './errors.ts'
import { flags, frameHeader, frameTypes, headerFrames, numberFrame, preface } from './frames.ts'
import { encodeHeaders } from './hpack/encoder.ts'
import { Http2Server } from './server.ts'
import type { Http2Stream } from './stream.ts'

/** What is told of the end of a stream. */
function endOf(stream: Http2Stream): string[] {
  const events: string[] = []
  for (const event of ['end', 'close'] as const) stream.on(event, () => events.push(event))
  return events
}

test('a call is over when its answer has left, whatever of the request was not read', async () => {
  const { client, server } = pair()
  const [body, calls] = [Buffer.alloc(10_000), 20]
  const ended: string[][] = []
  const whole: boolean[] = []
  server.on('stream', (stream) => {
    ended.push(endOf(stream))
    setTimeout(() => {
      whole.push(stream.remoteEnded)
      stream.respond([':status', '503'])
      stream.end(Buffer.from('busy'))
    }, 20)
  })
  // More than the connection's window together.
  for (let n = 0; n < calls; n++) {
    const call = client.request(request)
    call.resume()
    call.end(body)
    await once(call, 'close')
    expect(call.rstCode).toBe(errorCodes.NO_ERROR)
  }
  await expect.poll(() => ended.map(String)).toEqual(Array(calls).fill('close'))
  expect(whole).toEqual(Array(calls).fill(true))
})

/** Calls whose answers are here as a whole, unread. */
async function answered(): Promise<() => Promise<Http2Stream>> {
  const { client, server } = pair()
  server.on('stream', (stream) => {
    stream.resume()
    stream.respond([':status', '200'])
    stream.once('end', () => stream.end(Buffer.alloc(50_000), ['grpc-status', '0']))
  })
  return async () => {
    const call = client.request(request)
    call.pause()
    call.end()
    await expect.poll(() => call.closed).toBe(true)
    return call
  }
}

test('what came of a call that has ended can be read later', async () => {
  const call = await (await answered())()
  const events = endOf(call)
  let bytes = 0
  await new Promise((resolve) => setTimeout(resolve, 20))
  call.on('data', (chunk) => (bytes += chunk.length)).resume()
  await expect.poll(() => events).toEqual(['end', 'close'])
  expect(bytes).toBe(50_000)
})

test('who closes a call that has ended wants no more of it: what was not read is dropped', async () => {
  const next = await answered()
  // More than the connection's window together.
  for (let n = 0; n < 3; n++) {
    const unread = await next()
    const events = endOf(unread)
    unread.close()
    await expect.poll(() => events).toEqual(['close'])
    unread.close()
    unread.resume()
    const begun = await next()
    const other = endOf(begun)
    let chunks = 0
    begun.on('data', () => {
      chunks++
      begun.close()
    })
    begun.resume()
    await expect.poll(() => other).toEqual(['close'])
    expect([events, chunks]).toEqual([['close'], 1])
  }
})

test('who has read all and paused hears of the end when it goes on, before the close, or closes', async () => {
  const next = await answered()
  const readAll = async (): Promise<{ call: Http2Stream; events: string[] }> => {
    const call = await next()
    const events = endOf(call)
    let bytes = 0
    call.on('data', (chunk) => {
      bytes += chunk.length
      if (bytes === 50_000) call.pause()
    })
    call.resume()
    await expect.poll(() => bytes).toBe(50_000)
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(events).toEqual([])
    return { call, events }
  }
  const one = await readAll()
  one.call.resume()
  await expect.poll(() => one.events).toEqual(['end', 'close'])
  const other = await readAll()
  other.call.close()
  await expect.poll(() => other.events).toEqual(['close'])
})

test('a request that is given up has no end, also when that comes together with all of it', async () => {
  const [peer, far] = duplexPair()
  const server = new Http2Server(far, limits)
  open.push(server)
  peer.resume()
  let events: string[] = []
  server.on('stream', (stream) => {
    events = endOf(stream)
    stream.resume()
  })
  const data = Buffer.concat([frameHeader(frameTypes.DATA, flags.END_STREAM, 1, 100), Buffer.alloc(100)])
  peer.write(
    Buffer.concat([
      ...[preface, frameHeader(frameTypes.SETTINGS, 0, 0, 0)],
      ...headerFrames(1, encodeHeaders(request, false), false, 16_384),
      ...[data, numberFrame(frameTypes.RST_STREAM, 1, errorCodes.CANCEL)],
    ]),
  )
  await expect.poll(() => events).toContain('close')
  expect(events).toEqual(['close'])
})
