import { expect, test } from 'vitest'
import { frame } from '../../kernel/grpc/framing.ts'
import { looseStream } from '../../../test/unit/loose-stream.ts'
import { messagesFrom } from './messages.ts'
import type { Upstream } from './upstream.ts'

test('a call that has ended on both sides closes when what is left of its answer is not read', async () => {
  const stream = looseStream()
  let closed = false
  stream.once('close', () => (closed = true))
  const upstream = { node: 'a', request: () => stream, lost: () => undefined } as unknown as Upstream
  const messages = messagesFrom(upstream, '/x', Buffer.alloc(1), new AbortController().signal)
  const first = messages.next()
  for (let n = 0; n < 100; n++) stream.received(frame(Buffer.alloc(1000, n)))
  stream.receivedEnd()
  stream.finish(0)
  expect((await first).value).toEqual(Buffer.alloc(1000))
  expect(closed).toBe(false)
  await messages.return(undefined)
  await expect.poll(() => closed).toBe(true)
})
