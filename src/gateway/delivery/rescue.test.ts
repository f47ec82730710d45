import { expect, onTestFinished, test } from 'vitest'
import type { BuiltImage } from '../../api/images.ts'
import { createLogger } from '../../kernel/log.ts'
import { createInProgress } from '../images/in-progress.ts'
import { createImageIndex } from '../images/index.ts'
import type { PodFacts } from '../placement/cluster.ts'
import type { AgentCalls } from './agent-calls.ts'
import { createRescue } from './rescue.ts'

const name = 'docker.io/library/app:1'
const image: BuiltImage = { name, digest: `sha256:${'a'.repeat(64)}`, version: 1 }
const waiting = [{ image: name, reason: 'ImagePullBackOff', pullPolicy: 'IfNotPresent' }]
const pod = { namespace: 'ns', name: 'waits', node: 'n2', waiting } as unknown as PodFacts

test('an image that takes long is brought to a node once, and its pod is woken when it is there', async () => {
  const clock = { now: 0 }
  const pulls: PromiseWithResolvers<void>[] = []
  const woken: string[] = []
  const index = createImageIndex()
  index.add('n1', image)
  const rescue = createRescue({
    ...{ index, inProgress: createInProgress(), reachable: () => true, interval: 3_600_000 },
    view: { waitingFor: (of) => new Set(of === name ? [pod] : []) },
    agents: {
      pull() {
        const pull = Promise.withResolvers<void>()
        pulls.push(pull)
        return pull.promise
      },
    } as unknown as AgentCalls,
    wake: (node) => Promise.resolve(void woken.push(node)),
    logger: createLogger({ level: 'silent' }),
    now: () => clock.now,
  })
  onTestFinished(() => rescue.stop())
  const first = rescue.look()
  for (const _ of [1, 2, 3]) {
    clock.now += 60_000
    await rescue.look()
  }
  expect([pulls.length, woken]).toEqual([1, []])
  pulls[0]?.reject(new Error('the node is gone'))
  await first
  clock.now += 60_000
  const second = rescue.look()
  expect(pulls).toHaveLength(2)
  pulls[1]?.resolve()
  await second
  expect(woken).toEqual(['n2'])
})

test('the node is told of nodes of its own platform first, however many others have the image', async () => {
  const index = createImageIndex()
  for (let i = 0; i < 9; i += 1) index.add(`amd${i}`, image)
  index.add('arm', image)
  const told: (readonly string[])[] = []
  const rescue = createRescue({
    ...{ index, inProgress: createInProgress(), reachable: () => true, interval: 3_600_000 },
    view: { waitingFor: () => new Set([pod]) },
    platform: (node) => (node.startsWith('amd') ? 'linux/amd64' : 'linux/arm64'),
    agents: {
      pull: (_node: string, _image: BuiltImage, peers: readonly string[]) => Promise.resolve(void told.push(peers)),
    } as unknown as AgentCalls,
    wake: () => Promise.resolve(),
    logger: createLogger({ level: 'silent' }),
  })
  onTestFinished(() => rescue.stop())
  await rescue.look()
  expect(told).toEqual([['arm', 'amd0', 'amd1', 'amd2']])
})
