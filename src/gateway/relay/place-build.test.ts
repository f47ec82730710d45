import { create } from '@bufbuild/protobuf'
import { describe, expect, test } from 'vitest'
import { SolveRequestSchema } from '../../buildkit/gen/control_pb.ts'
import { solveFacts } from '../../buildkit/solve.ts'
import { InsituError } from '../../kernel/errors.ts'
import { createActivity } from '../correlate/activity.ts'
import { createBindings } from '../correlate/bindings.ts'
import { createFixedDirectory } from '../directory/fixed.ts'
import { createFixedPlacer } from '../placement/fixed.ts'
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

describe('a build of several platforms whose caller may use some nodes only', () => {
  const placeFor = (allows: RegExp, emulate?: string): Promise<Bound> => {
    const directory = createFixedDirectory(
      ['amd-1', 'amd-2', 'arm-1'].map((name) => ({
        ...{ name, address: { path: '/nowhere' }, native: [name.startsWith('amd') ? 'linux/amd64' : 'linux/arm64'] },
      })),
    )
    const context = {
      ...{ directory, placer: createFixedPlacer({ directory, running: () => 0 }), activity: createActivity() },
      ...{ sessions: createBindings<SessionPlace>({ linger: 0 }), turns: noQueue, config: { maxBuildDuration: 0 } },
    } as unknown as RelayContext
    const call = { signal: new AbortController().signal, caller: { kind: 'local' } } as unknown as Call
    const frontendAttrs = {
      platform: 'linux/amd64,linux/arm64',
      ...(emulate !== undefined && { 'insitu.emulate': emulate }),
    }
    const request = create(SolveRequestSchema, { ref: 'r', session: 's', frontend: 'dockerfile.v0', frontendAttrs })
    const allowsNode = (name: string): boolean => allows.test(name)
    const asked = { request, encodeAnew: false, allowsNode, checkNode: () => undefined, refusal: undefined }
    return placeBuild(context, { call, request, facts: solveFacts(request), asked, perNode: undefined, holds: [] })
  }

  test('is split between nodes that it may use', async () => {
    const { split } = await placeFor(/^(amd-2|arm-1)$/)
    expect(split?.parts.map(({ node }) => node.name)).toEqual(['amd-2', 'arm-1'])
  })

  test('is built whole on one that it may use where the native one is not allowed', async () => {
    const { split, node, placement } = await placeFor(/^amd-/)
    expect(split).toBeUndefined()
    expect(node.name).toMatch(/^amd-/)
    expect(placement?.node).toBe(node.name)
  })

  test('is refused with the node when nothing may be emulated', async () => {
    await expect(placeFor(/^amd-/, 'never')).rejects.toMatchObject({
      status: 'PERMISSION_DENIED',
      message: 'node arm-1 is not allowed, and no other one runs linux/arm64 natively',
    })
  })
})
