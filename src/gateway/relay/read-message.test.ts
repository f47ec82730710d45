import { expect, test } from 'vitest'
import { looseStream } from '../../../test/unit/loose-stream.ts'
import { decodeSolve } from '../../buildkit/solve.ts'
import { frame } from '../../kernel/grpc/framing.ts'
import type { Http2Stream } from '../http2/stream.ts'
import { createIdentityLimit } from './identity-limit.ts'
import { readMessage } from './read-message.ts'

const mib = 1 << 20

test('what is made of messages counts for all calls of an identity, until their call is closed', async () => {
  const limits = { connectionsPerIdentity: 1, messageSize: mib, messagesPerIdentity: 64 * mib }
  const { messages } = createIdentityLimit(limits).claim({ kind: 'loopback', address: '127.0.0.1' })
  // 200,000 exporters, which take some 30 MB.
  const message = frame(Buffer.alloc(400_000, '6a00', 'hex'))
  const ask = async (stream: Http2Stream): Promise<number> => {
    const read = readMessage({ stream, messages }, decodeSolve)
    stream.received(message)
    stream.receivedEnd()
    return (await read).exporters.length
  }
  const [first, second, third] = [looseStream(), looseStream(), looseStream()]
  expect(await ask(first)).toBe(200_000)
  expect(await ask(second)).toBe(200_000)
  await expect(ask(third)).rejects.toMatchObject({ code: 'MESSAGES_LIMIT', status: 'RESOURCE_EXHAUSTED' })
  third.finish(0)
  first.finish(0)
  expect(await ask(looseStream())).toBe(200_000)
  await expect(ask(looseStream())).rejects.toMatchObject({ code: 'MESSAGES_LIMIT' })
})
