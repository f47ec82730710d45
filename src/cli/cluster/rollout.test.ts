import { describe, expect, it } from 'vitest'
import type { Installation, RolePod } from './installation.ts'
import { progressOf, waitUntilReady } from './rollout.ts'

const rolePod = (name: string, problem?: string): RolePod => ({
  name,
  node: `on-${name}`,
  ready: problem === undefined,
  rootless: false,
  restarts: 0,
  report: undefined,
  problem: problem === undefined ? undefined : { text: problem, stuck: false, fix: `fix ${problem}` },
})

const installation = (more: Partial<Installation> = {}): Installation => ({
  namespace: 'n',
  deployment: {
    metadata: { generation: 2 },
    spec: { replicas: 2 },
    status: { observedGeneration: 2, availableReplicas: 2, updatedReplicas: 2 },
  },
  daemonSet: {
    metadata: { generation: 1 },
    status: { observedGeneration: 1, desiredNumberScheduled: 3, updatedNumberScheduled: 3, numberReady: 3 },
  },
  builder: {
    metadata: { generation: 1 },
    spec: { replicas: 2 },
    status: { observedGeneration: 1, availableReplicas: 2, updatedReplicas: 2 },
  },
  rootless: undefined,
  service: undefined,
  gateways: [rolePod('g1'), rolePod('g2')],
  controllers: [rolePod('c1'), rolePod('c2')],
  agents: [rolePod('a1'), rolePod('a2'), rolePod('a3')],
  warnings: ['quota exceeded'],
  ...more,
})

describe('progressOf', () => {
  it('is done when all are ready and of the newest generation', () => {
    expect(progressOf(installation())).toMatchObject({
      done: true,
      summary: 'gateways 2/2, agents 3/3, controllers 2/2 ready',
      waiting: [],
    })
  })

  it.each<[string, Partial<Installation>]>([
    ['there is no deployment', { deployment: undefined }],
    ['there is no deployment of controllers', { builder: undefined }],
    [
      'a controller is not ready',
      { builder: { ...installation().builder, status: { ...installation().builder?.status, availableReplicas: 1 } } },
    ],
    [
      'the controllers have not seen the change',
      { deployment: { ...installation().deployment, metadata: { generation: 3 } } },
    ],
    [
      'old pods are left',
      {
        daemonSet: {
          ...installation().daemonSet,
          status: { ...installation().daemonSet?.status, updatedNumberScheduled: 1 },
        },
      },
    ],
    [
      'an agent is not ready',
      { daemonSet: { ...installation().daemonSet, status: { ...installation().daemonSet?.status, numberReady: 2 } } },
    ],
  ])('is not done while %s', (_, more) => {
    expect(progressOf(installation(more)).done).toBe(false)
  })

  it('gives pods with the same problem one line', () => {
    const agents = ['a', 'b', 'c', 'd'].map((name) => rolePod(name, 'no disk'))
    const progress = progressOf(installation({ agents: [...agents, rolePod('e', 'no mount')] }))
    expect(progress.waiting).toEqual(['a on on-a, b on on-b and 2 more: no disk', 'e on on-e: no mount'])
  })

  it('says why a controller is not ready', () => {
    const progress = progressOf(installation({ controllers: [rolePod('c1'), rolePod('c2', 'crashes')] }))
    expect(progress.waiting).toEqual(['c2 on on-c2: crashes'])
  })

  it('says why no pods are made at all', () => {
    const daemonSet = { metadata: { generation: 1 }, status: {} }
    expect(progressOf(installation({ daemonSet })).waiting).toEqual(['quota exceeded'])
  })
})

describe('waitUntilReady', () => {
  it('says each change once and ends when it is done', async () => {
    const steps = [{ agents: [rolePod('a', 'x')] }, { agents: [rolePod('a', 'x')] }, { agents: [rolePod('a', 'y')] }]
    const deployment = { ...installation().deployment, status: {} }
    const said: string[] = []
    const read = (): Promise<Installation> => {
      const step = steps.shift()
      return Promise.resolve(installation(step && { ...step, deployment }))
    }
    await waitUntilReady({ read, say: (line) => said.push(line), timeout: 60_000, pause: () => Promise.resolve() })
    expect(said.map((text) => text.split('\n').at(-1))).toEqual(['  a on on-a: x', '  a on on-a: y'])
  })

  it('ends with what was missing', async () => {
    let now = 0
    const late = waitUntilReady({
      read: () => Promise.resolve(installation({ deployment: undefined, agents: [rolePod('a', 'no disk')] })),
      say: () => {},
      timeout: 3000,
      pause: (milliseconds) => Promise.resolve((now += milliseconds)),
      now: () => now,
    })
    await expect(late).rejects.toMatchObject({
      code: 'NOT_READY',
      fix: 'fix no disk',
      message: expect.stringContaining('a on on-a: no disk') as string,
    })
    expect(now).toBe(3000)
  })
})
