import { describe, expect, test } from 'vitest'
import type { InsituError } from '../../kernel/errors.ts'
import type { PlacementRequest } from './placer.ts'
import { place } from './place.ts'
import { readAmounts } from './scheduling/requests.ts'
import {
  ask,
  demandOf,
  podFacts,
  type PodSketch,
  sketch,
  workloadFacts,
  type Sketch,
} from '../../../test/unit/placement/sketch.ts'

const image = 'docker.io/team/web:v2'
const older = 'docker.io/team/web:v1'
const waits = (reason = 'ErrImageNeverPull', name = image) => [{ image: name, reason, pullPolicy: 'Never' }]
const ssd = demandOf({ nodeSelector: { disk: 'ssd' } })
const three = { n1: {}, n2: {}, n3: {} }

const decide = (cluster: Sketch, request: Partial<PlacementRequest> = { images: [image] }) =>
  place(ask(sketch(cluster), request)).placement

function refusal(cluster: Sketch, request: Partial<PlacementRequest> = { images: [image] }): InsituError {
  try {
    decide(cluster, request)
  } catch (error) {
    return error as InsituError
  }
  throw new Error('was placed')
}

describe('rule 1: said', () => {
  test('a node that is named is taken, cordoned or full as it may be', () => {
    const cluster = { nodes: { n1: {}, n2: { unschedulable: true } } }
    expect(decide(cluster, { node: 'n2' })).toEqual({
      rule: 'said',
      node: 'n2',
      targets: ['n2'],
      reason: 'asked for by insitu.node',
    })
  })

  test('it wins over a pod that waits elsewhere', () => {
    const pods = [{ node: 'n1', waiting: waits() }]
    expect(decide({ nodes: three, pods }, { images: [image], node: 'n3' }).node).toBe('n3')
  })

  test('an unknown node is an error that names those that build', () => {
    const error = refusal({ nodes: { n1: {}, n2: {}, n3: { agent: null } } }, { node: 'n9' })
    expect(error).toMatchObject({ code: 'UNKNOWN_NODE', status: 'NOT_FOUND', fix: 'Nodes with an agent: n1, n2.' })
    expect(error.message).toBe('insitu.node=n9: there is no node n9')
  })

  test.each([
    [{ agent: null }, 'no agent runs on node n2'],
    [{ ready: false }, 'node n2 is not ready (the kubelet does not report)'],
    [{ pressure: ['DiskPressure'] }, 'node n2 is under DiskPressure (the kubelet is making room there)'],
    [{ leaving: 'it is being deleted' }, 'node n2 is going away (it is being deleted)'],
    [{ agent: { draining: true, ready: false } }, 'node n2 is draining (its agent is being stopped)'],
    [
      { agent: { ready: false, trouble: 'reports SNAPSHOTTER_MISMATCH: it is native' } },
      'the agent of node n2 reports SNAPSHOTTER_MISMATCH: it is native',
    ],
  ])('a node that cannot build is an error with its finding: %j', (n2, message) => {
    const error = refusal({ nodes: { n1: {}, n2 } }, { node: 'n2' })
    expect(error).toMatchObject({ code: 'NODE_CANNOT_BUILD', status: 'FAILED_PRECONDITION' })
    expect(error.message).toBe(`insitu.node=n2: ${message}`)
  })

  test('a platform the node cannot do is an error', () => {
    expect(refusal({ nodes: { n1: {} } }, { node: 'n1', platforms: ['linux/arm64'] }).message).toBe(
      'insitu.node=n1: node n1 cannot build linux/arm64 (it can linux/amd64)',
    )
  })
})

describe('rule 1: insitu.for', () => {
  const label = 'Deployment default/web'
  const forWeb = { images: [image], workload: 'deploy/web' }

  test('the nodes of its pods are the targets, the oldest one that can build builds', () => {
    const view = sketch({ nodes: { n1: {}, n2: { agent: null }, n3: {} } })
    const pods = ['n2', 'n3', 'n2', 'n1'].map((node, i) => podFacts(view, { name: `web-${i}`, node, created: i }))
    expect(place(ask(view, forWeb, { label, pods, workload: undefined })).placement).toEqual({
      rule: 'said',
      node: 'n3',
      targets: ['n2', 'n3', 'n1'],
      reason: 'Deployment default/web runs there, and on 2 more (insitu.for)',
    })
  })

  test('of its nodes one is taken on which the build need not wait for its turn', () => {
    const view = sketch({ nodes: three, running: { n2: 1 } })
    const pods = ['n2', 'n3'].map((node, i) => podFacts(view, { name: `web-${i}`, node, created: i }))
    const at = (perNode: number | undefined) =>
      place(ask(view, { ...forWeb, perNode }, { label, pods, workload: undefined })).placement.node
    expect([at(1), at(2), at(undefined)]).toEqual(['n3', 'n2', 'n2'])
  })

  test('without pods its template decides', () => {
    const workload = workloadFacts({ images: [image], demand: ssd })
    const view = sketch({ nodes: { n1: {}, n2: { labels: { disk: 'ssd' } }, n3: {} } })
    expect(place(ask(view, forWeb, { label, pods: [], workload })).placement).toMatchObject({
      node: 'n2',
      targets: ['n2'],
    })
    const none = sketch({ nodes: { n1: {}, n3: {}, n4: { labels: { disk: 'ssd' }, agent: null } } })
    expect(() => place(ask(none, forWeb, { label, pods: [], workload }))).toThrow(
      "insitu.for=deploy/web: 0/3 nodes can build: 2 didn't match the workload's node selector, 1 no agent",
    )
  })

  test('a pod that is nowhere yet is an error', () => {
    const view = sketch({ nodes: three })
    expect(() => place(ask(view, forWeb, { label: 'pod default/x', pods: [], workload: undefined }))).toThrow(
      'pod default/x is not on a node yet',
    )
  })
})

describe('rule 2: waiting', () => {
  test('the node of the pod that waits builds, and the reason names pod and image', () => {
    const pods = [{ name: 'web-5f7c', node: 'n2', waiting: waits() }]
    expect(decide({ nodes: three, pods })).toEqual({
      rule: 'waiting',
      node: 'n2',
      targets: ['n2'],
      reason: 'pod default/web-5f7c waits there for docker.io/team/web:v2',
    })
  })

  test.each(['ErrImageNeverPull', 'ErrImagePull', 'ImagePullBackOff', 'ContainerCreating', 'Scheduled'])(
    '%s',
    (reason) => {
      expect(decide({ nodes: three, pods: [{ node: 'n3', waiting: waits(reason) }] }).node).toBe('n3')
    },
  )

  test('of several the oldest decides, and all their nodes are targets', () => {
    const pods = [
      { name: 'c', node: 'n1', created: 30, waiting: waits() },
      { name: 'a', node: 'n3', created: 10, waiting: waits() },
      { name: 'b', node: 'n1', created: 20, waiting: waits() },
    ]
    expect(decide({ nodes: three, pods })).toEqual({
      rule: 'waiting',
      node: 'n3',
      targets: ['n3', 'n1'],
      reason: 'pod default/a waits there for docker.io/team/web:v2 (and 2 more pods on 2 nodes)',
    })
  })

  test('of those first on which the build need not wait for its turn', () => {
    const pods = ['n2', 'n3', 'n1'].map((node, i) => ({ name: node, node, created: i, waiting: waits() }))
    const at = (running: Record<string, number>) =>
      decide({ nodes: three, pods, running }, { images: [image], perNode: 1 })
    expect(at({}).node).toBe('n2')
    expect(at({ n2: 1 })).toMatchObject({ rule: 'waiting', node: 'n3', targets: ['n2', 'n3', 'n1'] })
    expect(at({ n2: 1, n3: 1, n1: 1 }).node).toBe('n2')
    expect(decide({ nodes: three, pods, running: { n2: 9 } }).node).toBe('n2')
  })

  test('any of the names of a build counts', () => {
    const pods = [{ node: 'n2', waiting: waits('ErrImagePull', 'docker.io/library/b:latest') }]
    expect(decide({ nodes: three, pods }, { images: [image, 'docker.io/library/b:latest'] }).node).toBe('n2')
  })

  test('another tag does not count', () => {
    expect(decide({ nodes: three, pods: [{ node: 'n2', waiting: waits('ErrImagePull', older) }] }).rule).toBe(
      'anywhere',
    )
  })

  test('a cordoned node still builds for the pod that is on it', () => {
    expect(
      decide({ nodes: { n1: {}, n2: { unschedulable: true } }, pods: [{ node: 'n2', waiting: waits() }] }).node,
    ).toBe('n2')
  })

  test.each([{ pressure: ['MemoryPressure'] }, { leaving: 'it is being deleted' }])(
    'a node that drains builds for nobody: another does, and it stays the target: %j',
    (n2) => {
      const pods = [{ node: 'n2', waiting: waits() }]
      expect(decide({ nodes: { n1: {}, n2 }, pods })).toMatchObject({ rule: 'anywhere', node: 'n1', targets: ['n2'] })
    },
  )

  test('if its node cannot build, another of the targets does', () => {
    const pods = [
      { name: 'a', node: 'n1', created: 1, waiting: waits() },
      { name: 'b', node: 'n2', created: 2, waiting: waits() },
    ]
    expect(decide({ nodes: { n1: { agent: null }, n2: {} }, pods })).toMatchObject({
      node: 'n2',
      targets: ['n1', 'n2'],
    })
  })

  test('if none of the targets can build, another node does, and the reason says so', () => {
    const pods = [{ name: 'a', node: 'n1', waiting: waits() }]
    expect(decide({ nodes: { n1: { agent: null }, n2: {} }, pods })).toEqual({
      rule: 'anywhere',
      node: 'n2',
      targets: ['n1'],
      reason: 'node n1, where a pod waits for it, cannot build (no agent); it is the only node that can build',
    })
  })
})

describe('rule 3: running', () => {
  const daemon = (node: string, created = 0) => ({
    name: `web-${node}`,
    node,
    created,
    owner: { kind: 'DaemonSet', name: 'web' },
    rolling: [older],
  })

  test('pods of the repository that roll in place are the targets', () => {
    const placement = decide({ nodes: three, pods: [daemon('n1', 1), daemon('n3', 2)] })
    expect(placement.rule).toBe('running')
    expect(placement.targets).toEqual(['n1', 'n3'])
    expect(placement.targets).toContain(placement.node)
    expect(placement.reason).toBe(
      `pod default/web-${placement.node} of DaemonSet web runs docker.io/team/web:v1 there, as on 1 more and rolls in place`,
    )
  })

  test('a waiting pod comes first', () => {
    const pods = [daemon('n1'), daemon('n3'), { name: 'new', node: 'n2', waiting: waits() }]
    expect(decide({ nodes: three, pods })).toMatchObject({ rule: 'waiting', node: 'n2' })
  })

  test('among its nodes the one that can build is taken', () => {
    expect(decide({ nodes: { ...three, n1: { ready: false } }, pods: [daemon('n1'), daemon('n3')] })).toMatchObject({
      node: 'n3',
      targets: ['n1', 'n3'],
    })
  })
})

describe('rule 4: template', () => {
  test('nodes on which the pods may run', () => {
    const nodes = { n1: {}, n2: { labels: { disk: 'ssd' } }, n3: {} }
    expect(decide({ nodes, workloads: [{ images: [older], demand: ssd }] })).toEqual({
      rule: 'template',
      node: 'n2',
      targets: ['n2'],
      reason: 'Deployment default/web uses docker.io/team/web and may run only there',
    })
  })

  test('a workload with a pod on every node makes all of them targets', () => {
    const nodes = { n1: {}, n2: { taints: [{ key: 'gpu', value: '', effect: 'NoSchedule' }] }, n3: {} }
    const placement = decide({ nodes, workloads: [{ kind: 'DaemonSet', everyNode: true, images: [image] }] })
    expect(placement.targets.toSorted()).toEqual(['n1', 'n3'])
  })

  test('a cordoned node is not chosen', () => {
    const nodes = { n1: { labels: { disk: 'ssd' }, unschedulable: true }, n2: { labels: { disk: 'ssd' } } }
    expect(decide({ nodes, workloads: [{ images: [image], demand: ssd }] }).node).toBe('n2')
  })

  test('a node that has room comes first; where none has, one that may run the pods builds all the same', () => {
    const cpu = { containers: [{ name: 'web', resources: { requests: { cpu: '2' } } }], nodeSelector: { disk: 'ssd' } }
    const nodes = { n1: { labels: { disk: 'ssd' } }, n2: { labels: { disk: 'ssd' } }, n3: {}, n4: {} }
    const full = (name: string, node: string) => ({ name, node, profile: { requests: readAmounts({ cpu: '3' }) } })
    const workloads = [{ images: [older], demand: demandOf(cpu) }]
    const at = (cacheKey: string, ...pods: PodSketch[]) =>
      decide({ nodes, workloads, pods }, { images: [image], cacheKey })
    const chosen = new Set<string>()
    for (let i = 0; i < 20; i++) {
      const one = at(`k${i}`, full('a', 'n1'))
      expect([one.node, one.targets]).toEqual(['n2', ['n2']])
      expect(one.reason).toMatch(/may run there, one of 2 nodes it allows$/)
      const { rule, node, targets, reason } = at(`k${i}`, full('a', 'n1'), full('b', 'n2'))
      expect([rule, targets]).toEqual(['template', [node]])
      expect(reason).toBe(
        'Deployment default/web uses docker.io/team/web and may run there, one of 2 nodes it allows, none of which has room now',
      )
      chosen.add(node)
    }
    expect([...chosen].toSorted()).toEqual(['n1', 'n2'])
  })

  test('a node that may run more of the workloads comes before all others, however busy it is', () => {
    const zone = demandOf({ nodeSelector: { zone: 'a' } })
    const nodes = {
      n1: { labels: { disk: 'ssd' } },
      n2: { labels: { disk: 'ssd', zone: 'a' } },
      n3: { labels: { zone: 'a' } },
    }
    const workloads = [
      { name: 'web', images: [older], demand: ssd },
      { name: 'worker', images: [older], demand: zone },
    ]
    for (let i = 0; i < 20; i++) {
      const cacheKey = `k${i}`
      expect(decide({ nodes, workloads, running: { n2: i } }, { images: [image], cacheKey }).node).toBe('n2')
    }
  })

  test('if no node takes its pods, the build goes anywhere', () => {
    expect(decide({ nodes: three, workloads: [{ images: [image], demand: ssd }] }).rule).toBe('anywhere')
  })
})

describe('rule 5: anywhere', () => {
  test('the same build goes to the same node, and different builds spread', () => {
    const nodes = Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`n${i}`, {}]))
    const at = (cacheKey: string) => decide({ nodes }, { cacheKey }).node
    expect(at('a')).toBe(at('a'))
    const used = new Map<string, number>()
    for (let i = 0; i < 1000; i++) used.set(at(`key-${i}`), (used.get(at(`key-${i}`)) ?? 0) + 1)
    expect(used.size).toBe(10)
    for (const count of used.values()) expect(count).toBeGreaterThan(50)
  })

  test('a node that goes moves only its own builds', () => {
    const all = { n1: {}, n2: {}, n3: {}, n4: {} }
    const { n4: _, ...rest } = all
    const keys = Array.from({ length: 100 }, (_, i) => `k${i}`)
    const at = (nodes: Sketch['nodes']) => (cacheKey: string) => decide({ nodes }, { cacheKey }).node
    const staying = keys.filter((key) => at(all)(key) !== 'n4')
    expect(staying.length).toBeGreaterThan(50)
    expect(staying.map(at(rest))).toEqual(staying.map(at(all)))
  })

  test('a node with clearly more builds than the others is passed over', () => {
    const favourite = decide({ nodes: three }, { cacheKey: 'k' }).node
    expect(decide({ nodes: three, running: { [favourite]: 3 } }, { cacheKey: 'k' }).node).toBe(favourite)
    expect(decide({ nodes: three, running: { [favourite]: 20 } }, { cacheKey: 'k' }).node).not.toBe(favourite)
  })

  test('a node on which it would have to wait for its turn is passed over; where all are full the shortest queue is taken', () => {
    // Builds that name no image have one key.
    const ask = { images: [], cacheKey: '', perNode: 2 }
    const running: Record<string, number> = {}
    const nodes = Array.from({ length: 9 }, () => {
      const { node } = decide({ nodes: three, running }, ask)
      running[node] = (running[node] ?? 0) + 1
      return node
    })
    expect(running).toEqual({ n1: 3, n2: 3, n3: 3 })
    for (const turn of [nodes.slice(0, 2), nodes.slice(2, 4), nodes.slice(4, 6)]) expect(new Set(turn).size).toBe(1)
    expect(new Set(nodes.slice(6)).size).toBe(3)
    expect(decide({ nodes: three, running: { n1: 9 } }, { node: 'n1', perNode: 2 }).node).toBe('n1')
  })

  test('native before emulated, emulated before nothing', () => {
    const both = { platforms: ['linux/amd64', 'linux/arm64'] }
    const nodes = { n1: { agent: both }, n2: { platform: 'linux/arm64', agent: both } }
    for (let i = 0; i < 20; i++) {
      expect(decide({ nodes }, { platforms: ['linux/arm64'], cacheKey: `k${i}` }).node).toBe('n2')
    }
    expect(decide({ nodes: { n1: nodes.n1 } }, { platforms: ['linux/arm64'] }).reason).toBe(
      'the build names no image; it is the only node that can build; linux/arm64 is emulated',
    )
  })

  test('variants: arm64 is arm64/v8, arm/v6 is not arm/v7', () => {
    const nodes = { n1: { platform: 'linux/arm64', agent: { platforms: ['linux/arm64', 'linux/arm/v7'] } } }
    expect(decide({ nodes }, { platforms: ['linux/arm64/v8'] }).node).toBe('n1')
    expect(decide({ nodes }, { platforms: ['linux/arm'] }).node).toBe('n1')
    expect(() => decide({ nodes }, { platforms: ['linux/arm/v6'] })).toThrow('1 cannot build linux/arm/v6')
  })

  test('when no node fits, each reason comes with its count', () => {
    const nodes = {
      a: { unschedulable: true },
      b: { unschedulable: true },
      c: { agent: null },
      d: { agent: null },
      e: { agent: null },
      f: { pressure: ['DiskPressure'] },
      g: { ready: false },
      h: { agent: { ready: false, trouble: 'is starting' } },
      i: { agent: { ready: false, draining: true } },
    }
    const error = refusal({ nodes })
    expect(error).toMatchObject({ code: 'NO_NODE', status: 'FAILED_PRECONDITION' })
    expect(error.message).toBe(
      '0/9 nodes can build: 3 no agent, 2 cordoned, 1 DiskPressure, 1 agent not ready, 1 draining, 1 not ready',
    )
    expect(refusal({ nodes: {} }).message).toBe('0/0 nodes can build')
  })

  test('every node that was not taken is listed once, with its first reason', () => {
    const pods = [{ node: 'n1', waiting: waits() }]
    const view = sketch({ nodes: { n1: { agent: null }, n2: {}, n3: { unschedulable: true } }, pods })
    expect(place(ask(view, { images: [image] })).rejected()).toEqual([
      { node: 'n1', reason: 'no agent', detail: undefined },
      { node: 'n3', reason: 'cordoned' },
    ])
  })
})
