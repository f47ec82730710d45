import { create } from '@bufbuild/protobuf'
import { describe, expect, test } from 'vitest'
import { SolveRequestSchema } from '../../buildkit/gen/control_pb.ts'
import { solveFacts } from '../../buildkit/solve.ts'
import { InsituError } from '../../kernel/errors.ts'
import { createActivity } from '../correlate/activity.ts'
import { createBindings } from '../correlate/bindings.ts'
import { createFixedDirectory } from '../directory/fixed.ts'
import { createFixedPlacer } from '../placement/fixed.ts'
import { nativeFirst } from '../placement/native-first.ts'
import { place as placeByRules } from '../placement/place.ts'
import type { PlacementRequest } from '../placement/placer.ts'
import { noQueue } from '../queue/turns.ts'
import type { SessionPlace } from '../split/split-build.ts'
import type { Call, RelayContext } from './context.ts'
import { type Bound, placeBuild } from './place-build.ts'
import { ask, sketch } from '../../../test/unit/placement/sketch.ts'

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

describe('a build while the agent of arm-1, the only native node of arm64, is being replaced', () => {
  const amd64 = { platforms: ['linux/amd64'], native: ['linux/amd64'] }
  const emulating = { platforms: ['linux/amd64', 'linux/arm64'], native: ['linux/amd64'] }
  const arm64 = { platforms: ['linux/arm64', 'linux/s390x'], native: ['linux/arm64'] }

  interface Asked {
    readonly platform?: string
    readonly emulate?: string
    readonly exporter?: string
    /** What the agents of amd-1 and amd-2 say. */
    readonly amd?: typeof amd64
    /** The one whose agent is being stopped. */
    readonly away?: string
    /** It is between two pods. */
    readonly gone?: boolean
    readonly allows?: RegExp
    /** The node that the client's session is on already. */
    readonly bound?: string
  }

  /** The agents as placement and the directory see them; while one is away its node takes nothing. */
  function cluster({ amd = amd64, away = 'arm-1', gone = false }: Asked) {
    const agents = new Map([...['amd-1', 'amd-2'].map((name) => [name, amd] as const), ['arm-1', arm64] as const])
    let back = false
    const isAway = (name: string): boolean => !back && name === away
    const view = () =>
      sketch({
        nodes: Object.fromEntries(
          [...agents].map(([name, agent]) => {
            const platform = agent.native[0] ?? ''
            if (!isAway(name)) return [name, { platform, agent }]
            return [name, { platform, agent: gone ? null : { ...agent, ready: false, draining: true } }]
          }),
        ),
      })
    const nodes = () =>
      [...agents].flatMap(([name, { platforms, native }]) => {
        if (gone && isAway(name)) return []
        const state = isAway(name) ? 'draining' : 'ready'
        return { name, ready: state === 'ready', report: { state, platforms, nativePlatforms: native } }
      })
    return {
      placer: {
        place: async (request: PlacementRequest) => {
          const now = view()
          return nativeFirst(request, now, (asked) => placeByRules(ask(now, asked)).placement)
        },
        leaving: () => undefined,
      },
      directory: {
        nodes,
        node: (name: string) => nodes().find((node) => node.name === name),
        lately: () => (gone && !back ? [away] : []),
      },
      comesBack: () => (back = true),
    }
  }

  /** Places a build there. When it begins to wait, the agent comes back. */
  async function placeThere(asked: Asked) {
    const { emulate, exporter, allows = /./, bound } = asked
    const { placer, directory, comesBack } = cluster(asked)
    const activity = createActivity()
    let waited = false
    const started = (node: string): (() => void) => {
      waited = true
      comesBack()
      return activity.started(node)
    }
    const sessions = createBindings<SessionPlace>({ linger: 0 })
    const context = {
      ...{ directory, placer, activity: { ...activity, started }, sessions, turns: noQueue },
      config: { maxBuildDuration: 2 },
    } as unknown as RelayContext
    if (bound !== undefined) {
      await sessions.claim('s', () => Promise.resolve({ node: directory.node(bound) } as unknown as SessionPlace))
    }
    const call = { signal: new AbortController().signal, caller: { kind: 'local' } } as unknown as Call
    const request = create(SolveRequestSchema, {
      ...{ ref: 'r', session: 's', frontend: 'dockerfile.v0' },
      frontendAttrs: {
        platform: asked.platform ?? 'linux/amd64,linux/arm64',
        ...(emulate !== undefined && { 'insitu.emulate': emulate }),
      },
      exporters: exporter === undefined ? [] : [{ type: exporter }],
    })
    const allowsNode = (name: string): boolean => allows.test(name)
    const admitted = { request, encodeAnew: false, allowsNode, checkNode: () => undefined, refusal: undefined }
    const facts = solveFacts(request)
    const placed = placeBuild(context, { call, request, facts, asked: admitted, perNode: undefined, holds: [] })
    const result = await placed.catch((error: unknown) => error as InsituError)
    if (result instanceof Error) return { waited, error: { code: result.code, status: result.status } }
    const parts = result.split?.parts.map(({ node, platforms }) => `${node.name} ${platforms.join(' ')}`)
    return { waited, node: result.node.name, parts }
  }

  const splitUp = { waited: true, parts: [expect.stringMatching(/^amd-. linux\/amd64$/), 'arm-1 linux/arm64'] }

  test.each<[string, Asked]>([
    ['where nothing may be emulated', { emulate: 'never' }],
    ['where nothing may be emulated, though it could be', { emulate: 'never', amd: emulating }],
    ['where nothing can be emulated', {}],
    ['between two pods of the agent', { gone: true, emulate: 'never' }],
    ['on nodes that its caller may use', { allows: /^(amd-2|arm-1)$/ }],
  ])('of several platforms waits for it and is split, %s', async (_, asked) => {
    expect(await placeThere(asked)).toMatchObject(splitUp)
  })

  test.each<[string, Asked]>([
    ['of one platform', { platform: 'linux/arm64', emulate: 'never', amd: emulating }],
    ['whose platforms that node alone builds', { platform: 'linux/arm64,linux/s390x' }],
    ['that cannot be split', { platform: 'linux/arm64,linux/s390x', exporter: 'oci' }],
    ['whose caller may use that node only', { platform: 'linux/arm64', amd: emulating, allows: /^arm-/ }],
    [
      'of several platforms, whose caller may use that node only',
      {
        platform: 'linux/arm64,linux/s390x',
        amd: { ...emulating, platforms: [...emulating.platforms, 'linux/s390x'] },
        allows: /^arm-/,
      },
    ],
    [
      'whose caller may use that node only, between two pods of its agent',
      { platform: 'linux/arm64', amd: emulating, allows: /^arm-/, gone: true },
    ],
  ])('%s waits for it and is built there', async (_, asked) => {
    expect(await placeThere(asked)).toEqual({ waited: true, node: 'arm-1', parts: undefined })
  })

  test('that another node can emulate does not wait', async () => {
    const placed = { waited: false, node: expect.stringMatching(/^amd-/), parts: undefined }
    expect(await placeThere({ amd: emulating })).toEqual(placed)
    expect(await placeThere({ amd: emulating, emulate: 'auto', exporter: 'oci' })).toEqual(placed)
  })

  const hopeless = { waited: false, error: { status: 'FAILED_PRECONDITION' } }

  test.each<[string, Asked]>([
    ['nobody builds one of its platforms', { platform: 'linux/amd64,linux/arm64,linux/riscv64' }],
    ['nobody runs one of its platforms natively', { platform: 'linux/arm64,linux/s390x', emulate: 'never' }],
    ['the node only emulates its platform', { platform: 'linux/s390x', emulate: 'never' }],
    ['it cannot be split', { exporter: 'oci' }],
    ['it cannot be split, and nothing may be emulated', { exporter: 'oci', emulate: 'never' }],
    ['its caller may not use the node', { allows: /^amd-/ }],
    ['its session is on another node', { bound: 'amd-1' }],
    ['another node is away than the one it lacks', { platform: 'linux/amd64,linux/riscv64', away: 'amd-1' }],
  ])('fails at once where it could not be built then either: %s', async (_, asked) => {
    expect(await placeThere(asked)).toMatchObject(hopeless)
  })

  test('is built there at once where its session is on that node and would end with the daemon', async () => {
    const there = { waited: false, node: 'arm-1', parts: undefined }
    expect(await placeThere({ platform: 'linux/arm64,linux/s390x', bound: 'arm-1' })).toEqual(there)
    // Not what that node cannot build, or must not.
    const never = { platform: 'linux/arm64,linux/s390x', emulate: 'never', bound: 'arm-1' }
    expect(await placeThere(never)).toMatchObject(hopeless)
    expect(await placeThere({ bound: 'arm-1' })).toMatchObject(hopeless)
  })
})
