import { expect, onTestFinished, test } from 'vitest'
import { createLogger } from '../../kernel/log.ts'
import { createMetrics } from '../../kernel/metrics.ts'
import type { BuiltImage } from '../../api/images.ts'
import { createInProgress } from '../images/in-progress.ts'
import { createImageIndex } from '../images/index.ts'
import { createLookups } from '../images/lookup.ts'
import type { Begun, Order } from './orders.ts'
import { createPulls } from './pulls.ts'

const name = 'h/app:1'
const image: BuiltImage = { name, digest: `sha256:${'a'.repeat(64)}`, version: 1 }
const never = new AbortController().signal

const order: Order = {
  ...{ namespace: 'a', name: 'app', uid: 'u', generation: 1, created: '2026-01-01T00:00:00Z', names: [name] },
  ...{ serviceAccount: 'builder', platforms: undefined, revisions: 'Commits', atOnce: 2, pushes: false },
  ...{ demands: new Set<string>(), refused: undefined, unserved: undefined },
}
const begun: Begun = {
  ...{ namespace: 'a', by: 'u', names: [name], platforms: ['linux/amd64'], generation: 1, failures: 0 },
  ...{ succeeded: true, created: order.created, ended: Date.parse(order.created), rebuilt: [] },
  ...{ digest: image.digest, message: '' },
}

/** A gateway in whose cluster one Build waits for pulls, and was built for one long ago. */
function gateway(lost: ReadonlySet<string>, own: Partial<Order> = {}, unsure: (name: string) => boolean = () => false) {
  const index = createImageIndex()
  const written: unknown[] = []
  const pulls = createPulls({
    client: { patch: (...args) => (written.push(args[2]), Promise.reject(new Error('no API server'))) },
    orders: {
      claiming: () => [{ ...order, ...own }],
      begun: () => [begun],
      all: () => [],
      onChange: () => () => {},
      ...{ synced: true, stop: () => Promise.resolve() },
    },
    index,
    asking: (node) => ({ node, platform: 'linux/amd64', cannotBuild: undefined }),
    lost: (node) => lost.has(node),
    ...{ unsure, refusal: () => undefined },
    ...{ logger: createLogger({ level: 'silent' }), metrics: createMetrics() },
  })
  onTestFinished(() => pulls.close())
  const peer = (node: string) => ({ node, host: node, port: 1 })
  const lookups = createLookups({ index, pulls, peer, inProgress: createInProgress(), load: () => 0 })
  return { index, written, lookups }
}

test('an image that only lost nodes have is built again, and stays the answer while one of them is there', async () => {
  const lost = new Set<string>()
  const { index, lookups, written } = gateway(lost)
  for (const node of ['n1', 'n2']) index.add(node, image)
  lost.add('n1')
  expect(await lookups.lookup({ name }, 'n3', 10, never, { demand: true })).toMatchObject({ state: 'here', image })
  expect(written).toEqual([])
  lost.add('n2')
  expect(await lookups.lookup({ name }, 'n3', 0, never)).toEqual({ state: 'onPull' })
  await lookups.lookup({ name }, 'n3', 10, never, { demand: true })
  expect(JSON.stringify(written)).toContain('n3')
  lost.delete('n1')
  expect(await lookups.lookup({ name }, 'n3', 0, never)).toMatchObject({ state: 'here', image })
})

test('an image that lost nodes have and that was pushed comes from the registry', async () => {
  const { index, lookups } = gateway(new Set(['n1']), { pushes: true })
  index.add('n1', image)
  expect(await lookups.lookup({ name }, 'n3', 0, never)).toMatchObject({ state: 'here', peers: [{ node: 'n1' }] })
})

test('an image whose only node is between two agents is not built again: the next one gives it a moment later', async () => {
  let away = true
  const { index, lookups, written } = gateway(new Set(), {}, (asked) => away && asked === name)
  const pulled = lookups.lookup({ name }, 'n3', 3000, never, { demand: true })
  await new Promise((resolve) => setTimeout(resolve, 50))
  index.add('n1', image)
  expect(await pulled).toMatchObject({ state: 'here', image })
  expect(written).toEqual([])
  // It came back without it, or not at all.
  index.forget('n1')
  away = false
  await lookups.lookup({ name }, 'n3', 10, never, { demand: true })
  expect(JSON.stringify(written)).toContain('n3')
})
