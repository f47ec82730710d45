import { expect, test } from 'vitest'
import { create, toBinary } from '@bufbuild/protobuf'
import { StatusResponseSchema } from '../../buildkit/gen/control_pb.ts'
import { frame } from '../../kernel/grpc/framing.ts'
import type { BuildNode } from '../directory/directory.ts'
import { createProgress } from '../progress/progress.ts'
import type { Build, Call } from '../relay/context.ts'
import { relaySplitStatus } from './relay-status.ts'
import type { SplitBuild } from './split-build.ts'
import { looseStream } from '../../../test/unit/loose-stream.ts'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('a client that goes away while it does not keep up ends the Status of a part that has ended', async () => {
  const [client, source] = [looseStream(), looseStream()]
  const gone = new AbortController()
  client.once('close', () => gone.abort(new Error('the client ended the call')))
  const node = { name: 'a' } as BuildNode
  const call = {
    ...{ stream: client, raw: [], signal: gone.signal },
    upstreams: { to: () => Promise.resolve({ node: 'a', lost: () => undefined, request: () => source }) },
  } as unknown as Call
  const split = { parts: [{ node, platforms: ['linux/amd64'] }] } as unknown as SplitBuild
  const followed = relaySplitStatus(call, { progress: createProgress() } as Build, split, 'ref')
  await turn()
  // More than may wait for the client, so that the rest stays unread; then the daemon is done.
  const logs = [{ vertex: 'sha256:1', msg: Buffer.alloc(300 << 10) }]
  const message = frame(toBinary(StatusResponseSchema, create(StatusResponseSchema, { logs })))
  for (let i = 0; i < 3; i++) source.received(message)
  source.receivedEnd()
  source.finish(0)
  await turn()
  expect(client.writableLength).toBeGreaterThan(256 << 10)
  client.finish(8)
  const end = await Promise.race([
    followed.then(() => 'ended'),
    turn()
      .then(turn)
      .then(turn)
      .then(() => 'open'),
  ])
  expect(end).toBe('ended')
})
