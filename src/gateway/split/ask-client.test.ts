import { create, toBinary } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { FetchTokenResponseSchema } from '../../buildkit/gen/auth_pb.ts'
import { frame } from '../../kernel/grpc/framing.ts'
import { clientCredentials } from './ask-client.ts'
import { looseStream } from '../../../test/unit/loose-stream.ts'

const question = { host: 'r.test', realm: 'https://t.test', service: 's', scopes: [] }

/** A client's session with one call that is opened. */
function session() {
  const stream = looseStream()
  return { stream, credentials: clientCredentials({ request: () => stream, gone: false }) }
}

test('a client gives its token', async () => {
  const { stream, credentials } = session()
  const token = credentials.token(question, new AbortController().signal)
  stream.emit('response', [':status', '200'], false)
  stream.received(frame(toBinary(FetchTokenResponseSchema, create(FetchTokenResponseSchema, { token: 't' }))))
  stream.emit('trailers', ['grpc-status', '0'])
  stream.receivedEnd()
  stream.finish(0)
  expect(await token).toBe('t')
})

test('an answer without end is given up', async () => {
  const { stream, credentials } = session()
  const token = credentials.token(question, new AbortController().signal)
  token.catch(() => undefined)
  stream.emit('response', [':status', '200'], false)
  for (let i = 0; i < 64 && !stream.closed; i++) {
    stream.received(Buffer.alloc(64 << 10))
    await new Promise((resolve) => setImmediate(resolve))
  }
  expect(stream.closed).toBe(true)
  await expect(token).rejects.toThrow('its answer is too large')
})

test.each<[string, (stream: ReturnType<typeof looseStream>) => void, RegExp]>([
  ['without a message', () => undefined, /carries no message/],
  ['of a compressed message', (stream) => stream.received(Buffer.from([1, 0, 0, 0, 0])), /compressed/],
  [
    'of two messages',
    (stream) => stream.received(Buffer.concat([frame(Buffer.alloc(1)), frame(Buffer.alloc(1))])),
    /says 1 bytes/,
  ],
  ['larger than all', (stream) => stream.received(frame(Buffer.alloc(2 << 20))), /too large/],
])('an answer %s fails the question and nothing else', async (_, answer, why) => {
  const { stream, credentials } = session()
  const basic = credentials.basic('r.test', new AbortController().signal)
  stream.emit('response', [':status', '200'], false)
  answer(stream)
  stream.emit('trailers', ['grpc-status', '0'])
  stream.receivedEnd()
  stream.finish(0)
  await expect(basic).rejects.toMatchObject({ code: 'SESSION_CALL', message: expect.stringMatching(why) as string })
})

test('a client that has gone is not asked', async () => {
  const { credentials } = session()
  await expect(credentials.token(question, AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone')
})
