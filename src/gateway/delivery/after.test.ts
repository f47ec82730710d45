import { describe, expect, test, vi } from 'vitest'
import type { BuiltImage } from '../../api/images.ts'
import { createLogger } from '../../kernel/log.ts'
import { createImageIndex } from '../images/index.ts'
import { createInProgress } from '../images/in-progress.ts'
import type { PodFacts } from '../placement/cluster.ts'
import type { AgentCalls } from './agent-calls.ts'
import { nextPull, podsBackingOff, type PodEvent } from './back-off.ts'
import { reconcileNames } from './reconcile.ts'
import { createRescue } from './rescue.ts'

const name = 'docker.io/library/app:1'
const image = (digit: string, version: number): BuiltImage => ({
  name,
  digest: `sha256:${digit.repeat(64)}`,
  version,
})

function agents() {
  const dropped: [string, number][] = []
  const pulled: [string, readonly string[]][] = []
  let failures = 0
  const calls: AgentCalls = {
    built: () => Promise.resolve({ refused: [] }),
    retract: () => Promise.resolve(),
    drop: (node, images) => {
      if (failures-- > 0) return Promise.reject(new Error('no answer'))
      dropped.push([node, images[0]?.version ?? 0])
      return Promise.resolve()
    },
    pull: (node, _image, peers) => {
      pulled.push([node, peers])
      return Promise.resolve(1)
    },
  }
  return { calls, dropped, pulled, fail: (times: number) => void (failures = times) }
}

describe('two nodes claim one name with different images', () => {
  test('the newest wins whoever is heard of last, also against a clock that is behind, and the log says why', async () => {
    const { calls, dropped } = agents()
    const lines: string[] = []
    const logger = createLogger({ level: 'info', destination: { write: (line) => void lines.push(line) } })
    const index = createImageIndex({ now: () => 1000 })
    const stop = reconcileNames({ index, agents: calls, logger, patience: 5 })
    index.add('ahead', image('a', 9_000_000))
    index.add('behind', { ...image('b', 0), version: index.nextVersion(name) })
    await expect.poll(() => dropped).toEqual([['ahead', 9_000_001]])
    expect(index.newest(name)?.digest).toBe(image('b', 0).digest)
    expect(lines.join('')).toContain('the newest build wins')
    stop()
  })

  test('a node that cannot be told is told later', async () => {
    const { calls, dropped, fail } = agents()
    const index = createImageIndex()
    const stop = reconcileNames({ index, agents: calls, logger: createLogger({ level: 'silent' }), patience: 5 })
    fail(3)
    index.add('n1', image('a', 1))
    index.add('n2', image('b', 2))
    await expect.poll(() => dropped).toEqual([['n1', 2]])
    expect(index.stale(name)).toEqual([])
    stop()
  })

  test('a difference that a delivery ends in time is left alone', async () => {
    vi.useFakeTimers()
    try {
      const { calls, dropped } = agents()
      const index = createImageIndex()
      const stop = reconcileNames({ index, agents: calls, logger: createLogger({ level: 'silent' }), patience: 20 })
      index.add('n1', image('a', 1))
      index.add('n2', image('b', 2))
      await vi.advanceTimersByTimeAsync(19)
      index.add('n1', image('b', 2))
      await vi.advanceTimersByTimeAsync(10_000)
      expect(dropped).toEqual([])
      stop()
    } finally {
      vi.useRealTimers()
    }
  })
})

/** What is looked at of a pod that waits. */
const pod = (node: string, reason: string, pullPolicy: string): PodFacts => {
  const facts: Partial<PodFacts> = {
    ...{
      namespace: 'default',
      name: `on-${node}-${reason}`,
      node,
      created: 0,
      owner: undefined,
      ip: undefined,
      rolling: [],
    },
    waiting: [{ image: name, reason, pullPolicy }],
  }
  return facts as PodFacts
}

test('a pod that waits for an image another node has gets it without a build, once, and is woken', async () => {
  const { calls, pulled } = agents()
  const woken: string[] = []
  const index = createImageIndex()
  const inProgress = createInProgress()
  let pods: PodFacts[] = []
  const rescue = createRescue({
    ...{ index, inProgress, agents: calls, logger: createLogger({ level: 'silent' }) },
    view: { waitingFor: () => new Set(pods) },
    reachable: (node) => node !== 'lost',
    wake: (node) => Promise.resolve(void woken.push(node)),
    interval: 1_000_000,
  })
  pods = [
    pod('n2', 'ErrImageNeverPull', 'Never'),
    pod('n3', 'ImagePullBackOff', 'IfNotPresent'),
    pod('n4', 'ImagePullBackOff', 'Always'),
    pod('n5', 'ContainerCreating', 'Never'),
    pod('lost', 'ErrImageNeverPull', 'Never'),
    pod('n1', 'ErrImageNeverPull', 'Never'),
  ]
  await rescue.look()
  expect(pulled).toEqual([])
  index.add('n1', image('a', 1))
  const build = inProgress.begin([name])
  await rescue.look()
  expect(pulled).toEqual([])
  build.ended()
  await rescue.look()
  await rescue.look()
  expect(pulled.map(([node]) => node)).toEqual(['n2', 'n3'])
  expect(pulled[0]?.[1]).toEqual(['n1'])
  expect(woken.toSorted()).toEqual(['n1', 'n2', 'n3'])
  rescue.stop()
})

test('pods in back-off with policy Always are those that nobody can wake', () => {
  const pods = [
    pod('n1', 'ImagePullBackOff', 'Always'),
    pod('n2', 'ErrImagePull', 'Always'),
    pod('n3', 'ContainerCreating', 'Always'),
    pod('n4', 'ImagePullBackOff', 'Never'),
  ]
  const found = podsBackingOff({ waitingFor: () => new Set(pods) }, [name, name])
  expect(found.map((p) => p.node)).toEqual(['n1', 'n2'])
})

test('the next try of a kubelet follows from how often and when it failed', () => {
  const failed = (count: number, at: string): PodEvent => ({
    ...{ reason: 'Failed', message: 'Failed to pull image "app:1": not found', count, lastTimestamp: at },
  })
  const noise: PodEvent = {
    reason: 'Failed',
    message: 'Error: ImagePullBackOff',
    lastTimestamp: '2026-01-01T01:00:00Z',
  }
  const at = (events: PodEvent[]): string | undefined => {
    const next = nextPull(events)
    return next === undefined ? undefined : new Date(next).toISOString().slice(11, 19)
  }
  expect(at([failed(1, '2026-01-01T00:00:00Z'), noise])).toBe('00:00:10')
  expect(at([failed(3, '2026-01-01T00:00:00Z')])).toBe('00:00:40')
  expect(at([failed(9, '2026-01-01T00:00:00Z')])).toBe('00:05:00')
  expect(at([noise])).toBeUndefined()
})
