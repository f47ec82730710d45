import { create } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { SolveRequestSchema } from '../../buildkit/gen/control_pb.ts'
import { solveFacts } from '../../buildkit/solve.ts'
import { InsituError } from '../../kernel/errors.ts'
import { createActivity } from '../correlate/activity.ts'
import { createBindings } from '../correlate/bindings.ts'
import { noQueue } from '../queue/turns.ts'
import type { SessionPlace } from '../split/split-build.ts'
import type { Call, RelayContext } from './context.ts'
import { type Bound, placeBuild } from './place-build.ts'

/** Places a build whose client has its session on n1, the only node, which takes nothing new. */
async function place(state: 'draining' | 'failed', leaving?: string): Promise<Bound> {
  const node = { name: 'n1', ready: false, report: { state, platforms: [] } }
  const sessions = createBindings<SessionPlace>({ linger: 0 })
  const context = {
    directory: { nodes: () => [node], node: () => node },
    placer: {
      place: () => Promise.reject(new InsituError('NO_NODE', 'n1 takes nothing new')),
      leaving: () => leaving,
    },
    ...{ sessions, activity: createActivity(), turns: noQueue, config: { maxBuildDuration: 0 } },
  } as unknown as RelayContext
  const session = await sessions.claim('s', () => Promise.resolve({ node } as unknown as SessionPlace))
  const call = { signal: new AbortController().signal, caller: { kind: 'local' } } as unknown as Call
  const request = create(SolveRequestSchema, { ref: 'r', session: 's', frontend: 'dockerfile.v0' })
  const asked = { request, encodeAnew: false, allowsNode: () => true, checkNode: () => undefined, refusal: undefined }
  try {
    return await placeBuild(context, {
      call,
      request,
      facts: solveFacts(request),
      asked,
      perNode: undefined,
      holds: [],
    })
  } finally {
    session.release()
  }
}

test('a build whose session is on a node that is being stopped is built there: the session ends with its daemon', async () => {
  const { placement } = await place('draining')
  expect(placement).toMatchObject({ node: 'n1', reason: 'other builds of the same client session are there' })
})

test('it is refused where the node goes away, or is in trouble', async () => {
  await expect(place('draining', 'it is being deleted')).rejects.toThrow('n1 takes nothing new')
  await expect(place('failed')).rejects.toThrow('n1 takes nothing new')
})
