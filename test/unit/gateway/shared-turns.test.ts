import { expect, test } from 'vitest'
import { createNodeTurns, type NodeTurns } from '../../../src/agent/turns/turns.ts'
import type { Caller } from '../../../src/gateway/listener/caller.ts'
import { createLogger } from '../../../src/kernel/log.ts'
import { createQueue } from '../../../src/gateway/queue/queue.ts'
import { createSharedTurns } from '../../../src/gateway/queue/shared-turns.ts'
import type { Turns } from '../../../src/gateway/queue/turns.ts'

// Two gateways and two nodes, each of which takes one connection.

const caller: Caller = { kind: 'loopback', address: '127.0.0.1' }
const soon = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5))

function cluster(patience: number): {
  readonly gateways: readonly Turns[]
  readonly nodes: ReadonlyMap<string, NodeTurns>
} {
  const nodes = new Map(['w-1', 'w-2'].map((name) => [name, createNodeTurns()]))
  const gateway = (): Turns =>
    createSharedTurns({
      own: createQueue({ perNode: () => 1, tenant: () => ({ name: 'all', weight: 1, builds: 0 }), lookAgain: 1 }),
      hold: async (node, wish) => (await nodes.get(node)?.wait(wish)) ?? (() => undefined),
      check: () => undefined,
      logger: createLogger({ level: 'silent' }),
      ...{ patience, lookAgain: 1 },
    })
  return { gateways: [gateway(), gateway()], nodes }
}

function build(turns: Turns | undefined, group: object, node: string, which?: object) {
  const cancel = new AbortController()
  let release: (() => void) | undefined
  const done = turns?.wait({ caller, node, group, build: which, signal: cancel.signal }).then(
    (give) => void (release = give),
    () => undefined,
  )
  return { done, started: () => release !== undefined, end: () => release?.(), cancel }
}

test('connections of two gateways that wait for each other do not wait for ever', async () => {
  const { gateways, nodes } = cluster(200)
  const [a, b] = [{}, {}]
  const [a1, b1] = [build(gateways[0], a, 'w-1'), build(gateways[1], b, 'w-2')]
  await Promise.all([a1.done, b1.done])
  const [a2, b2] = [build(gateways[0], a, 'w-2'), build(gateways[1], b, 'w-1')]
  await soon()
  expect([a2.started(), b2.started()]).toEqual([false, false])
  await Promise.all([a2.done, b2.done])
  for (const one of [a1, a2, b1, b2]) one.end()
  await soon()
  for (const { taken, waiting } of nodes.values()) expect([taken, waiting]).toEqual([0, 0])
})

test('nor do those that wait behind others of their gateway', async () => {
  const { gateways, nodes } = cluster(200)
  const [a, b] = [{}, {}]
  const [a1, b1] = [build(gateways[0], a, 'w-1'), build(gateways[1], b, 'w-2')]
  await Promise.all([a1.done, b1.done])
  // They have the turns of their own gateways and wait for those of the nodes.
  const [e, f] = [build(gateways[0], {}, 'w-2'), build(gateways[1], {}, 'w-1')]
  await soon()
  const [a2, b2] = [build(gateways[0], a, 'w-2'), build(gateways[1], b, 'w-1')]
  await Promise.all([a2.done, b2.done])
  expect([e.started(), f.started()]).toEqual([false, false])
  for (const one of [a1, a2, b1, b2]) one.end()
  await Promise.all([e.done, f.done])
  for (const one of [e, f]) one.end()
  await soon()
  for (const { taken, waiting } of nodes.values()) expect([taken, waiting]).toEqual([0, 0])
})

test('a connection that builds nothing else, and a split build, wait for as long as it takes', async () => {
  const { gateways } = cluster(5)
  const split = {}
  const a = {}
  const held = build(gateways[1], {}, 'w-2')
  const first = build(gateways[0], a, 'w-1', split)
  await Promise.all([held.done, first.done])
  const second = build(gateways[0], a, 'w-2', split)
  const third = build(gateways[1], {}, 'w-1')
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect([second.started(), third.started()]).toEqual([false, false])
  held.end()
  await second.done
  for (const one of [first, second]) one.end()
  await third.done
  third.end()
})
