import { expect, test } from 'vitest'
import { createNodeTurns, type NodeTurns } from '../../../src/agent/turns/turns.ts'
import type { Caller } from '../../../src/gateway/listener/caller.ts'
import { createLogger } from '../../../src/kernel/log.ts'
import { createQueue } from '../../../src/gateway/queue/queue.ts'
import type { Turns } from '../../../src/gateway/queue/turns.ts'

// Two gateways in front of nodes that take one connection each, where nothing else is said.

const caller: Caller = { kind: 'loopback', address: '127.0.0.1' }
const after = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds))
const soon = (): Promise<void> => after(5)

function cluster(
  patience: number,
  limit = 1,
): {
  readonly gateways: readonly [Turns, Turns]
  readonly nodes: ReadonlyMap<string, NodeTurns>
} {
  const nodes = new Map(['w-1', 'w-2', 'w-3', 'w-4'].map((name) => [name, createNodeTurns()]))
  const gateway = (): Turns =>
    createQueue({
      ...{ perNode: () => limit, tenant: () => ({ name: 'all', weight: 1, builds: 0 }), lookAgain: 1 },
      shared: {
        hold: async (node, wish) => (await nodes.get(node)?.wait(wish)) ?? (() => undefined),
        logger: createLogger({ level: 'silent' }),
        patience,
      },
    })
  return { gateways: [gateway(), gateway()], nodes }
}

function build(turns: Turns, group: object, node: string, which?: object) {
  const cancel = new AbortController()
  let release: (() => void) | undefined
  const done = turns.wait({ caller, node, group, build: which, signal: cancel.signal }).then(
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
  await after(50)
  expect([second.started(), third.started()]).toEqual([false, false])
  held.end()
  await second.done
  for (const one of [first, second]) one.end()
  await third.done
  third.end()
})

/** Ends all, whatever they do at the moment. @returns whether nobody has or wants a turn any more. */
async function over(nodes: ReadonlyMap<string, NodeTurns>, ...builds: readonly ReturnType<typeof build>[]) {
  for (const one of builds) {
    one.cancel.abort(new Error('over'))
    one.end()
  }
  await Promise.all(builds.map(({ done }) => done))
  for (const one of builds) one.end()
  await soon()
  return [...nodes.values()].every(({ taken, waiting }) => taken === 0 && waiting === 0)
}
const started = (...builds: readonly ReturnType<typeof build>[]): boolean[] => builds.map((one) => one.started())

test('of those that may be waiting for another gateway one starts beyond the limit, the next when that one has ended', async () => {
  const { gateways, nodes } = cluster(60)
  const d = build(gateways[1], {}, 'w-2')
  const [a, e, f] = [{}, {}, {}]
  const first = [build(gateways[0], a, 'w-1'), build(gateways[0], e, 'w-3'), build(gateways[0], f, 'w-4')]
  await Promise.all([d, ...first].map(({ done }) => done))
  const c = build(gateways[0], {}, 'w-2')
  await soon()
  const [a2, e2, f2] = [a, e, f].map((group) => build(gateways[0], group, 'w-2')) as [typeof c, typeof c, typeof c]
  await a2.done
  await after(200)
  expect(started(c, a2, e2, f2)).toEqual([false, true, false, false])
  expect(nodes.get('w-2')).toMatchObject({ taken: 2 })
  a2.end()
  await e2.done
  expect(started(c, f2)).toEqual([false, false])
  // It is counted: whoever ends first, the node is full until both have.
  d.end()
  await soon()
  expect(started(c)).toEqual([false])
  e2.end()
  await c.done
  expect(started(f2)).toEqual([false])
  expect(await over(nodes, c, d, f2, a2, e2, ...first)).toBe(true)
})

test('nor do two of them start there that both have the turn of their gateway', async () => {
  const { gateways, nodes } = cluster(60, 2)
  const strangers = [build(gateways[1], {}, 'w-2'), build(gateways[1], {}, 'w-2')]
  const [a, e] = [{}, {}]
  const first = [build(gateways[0], a, 'w-1'), build(gateways[0], e, 'w-3')]
  await Promise.all([...strangers, ...first].map(({ done }) => done))
  const second = [build(gateways[0], a, 'w-2'), build(gateways[0], e, 'w-2')]
  await after(200)
  expect(started(...second).filter(Boolean)).toHaveLength(1)
  expect(nodes.get('w-2')).toMatchObject({ taken: 3 })
  expect(await over(nodes, ...strangers, ...first, ...second)).toBe(true)
})

test('the one beyond the limit that waits for the next turn itself keeps nobody waiting for ever', async () => {
  const { gateways, nodes } = cluster(40, 2)
  const [a, g] = [{}, {}]
  // What the second gateway builds never ends.
  const strangers = ['w-2', 'w-2', 'w-3', 'w-3'].map((node) => build(gateways[1], {}, node))
  const first = [build(gateways[0], a, 'w-1'), build(gateways[0], g, 'w-1')]
  await Promise.all([...strangers, ...first].map(({ done }) => done))
  const second = [build(gateways[0], a, 'w-2'), build(gateways[0], g, 'w-3')]
  await Promise.all(second.map(({ done }) => done))
  const third = [build(gateways[0], a, 'w-3'), build(gateways[0], g, 'w-2')]
  await Promise.race(third.map(({ done }) => done))
  await after(100)
  // One of them ends by itself now.
  expect(started(...third).filter(Boolean)).toHaveLength(1)
  expect(await over(nodes, ...strangers, ...first, ...second, ...third)).toBe(true)
})

test('in a circle within one gateway one starts at once, and only one', async () => {
  const { gateways, nodes } = cluster(300)
  const [a, b] = [{}, {}]
  const [a1, b1] = [build(gateways[0], a, 'w-1'), build(gateways[0], b, 'w-2')]
  await Promise.all([a1.done, b1.done])
  const begin = performance.now()
  const a2 = build(gateways[0], a, 'w-2')
  const b2 = build(gateways[0], b, 'w-1')
  await b2.done
  expect(performance.now() - begin).toBeLessThan(200)
  await after(400)
  expect(started(a2)).toEqual([false])
  expect([...nodes.values()].map(({ taken }) => taken)).toEqual([2, 1, 0, 0])
  for (const one of [b1, b2]) one.end()
  await a2.done
  expect(await over(nodes, a1, a2, b1, b2)).toBe(true)
})

test('a client that is gone leaves nothing behind, whatever it waited for', async () => {
  const { gateways, nodes } = cluster(300)
  const [a, b] = [{}, {}]
  const d = build(gateways[1], {}, 'w-2')
  const a1 = build(gateways[0], a, 'w-1')
  await Promise.all([d.done, a1.done])
  const atNode = build(gateways[0], {}, 'w-2')
  const atGateway = build(gateways[0], {}, 'w-2')
  const sibling = build(gateways[0], a, 'w-2')
  await soon()
  expect(nodes.get('w-2')).toMatchObject({ taken: 1, waiting: 1 })
  atNode.cancel.abort(new Error('gone'))
  await atNode.done
  await soon()
  // The next of the gateway asks in its place.
  expect(nodes.get('w-2')).toMatchObject({ taken: 1, waiting: 1 })
  atGateway.cancel.abort(new Error('gone'))
  await atGateway.done
  await sibling.done
  expect(nodes.get('w-2')).toMatchObject({ taken: 2, waiting: 0 })
  sibling.end()
  d.end()
  await soon()
  expect(nodes.get('w-2')).toMatchObject({ taken: 0, waiting: 0 })

  // One that starts in a circle, gone in the moment in which it starts.
  const b1 = build(gateways[0], b, 'w-2')
  await b1.done
  const a2 = build(gateways[0], a, 'w-2')
  const b2 = build(gateways[0], b, 'w-1')
  b2.cancel.abort(new Error('gone'))
  await b2.done
  await soon()
  expect([...nodes.values()].map(({ taken, waiting }) => [taken, waiting]).slice(0, 2)).toEqual([
    [1, 0],
    [1, 0],
  ])
  b1.end()
  await a2.done
  expect(await over(nodes, a1, a2)).toBe(true)
})
