import { describe, expect, test } from 'vitest'
import type { Caller } from '../listener/caller.ts'
import { afterTurn, inTurn, noPasses } from './order.ts'
import { createQueue, type Queue } from './queue.ts'
import type { TurnRequest } from './turns.ts'

const waiting = (names: string, weights: Record<string, number> = {}) =>
  names.split('').map((tenant, i) => ({ tenant, weight: weights[tenant] ?? 1, i }))
const order = (names: string, weights?: Record<string, number>): string =>
  inTurn(waiting(names, weights), noPasses)
    .map((w) => w.tenant)
    .join('')

describe('the order of turns', () => {
  test('goes round the tenants, whoever came with many', () => expect(order('aaaaaab')).toBe('abaaaaa'))
  test('gives a tenant of weight 3 three turns for one', () => expect(order('aaaabbbbbb', { b: 3 })).toBe('abbbabbbaa'))
  test('within a tenant is that of arrival', () =>
    expect(inTurn(waiting('abab'), noPasses).map((w) => w.i)).toEqual([0, 1, 2, 3]))
  test('does not let an idle tenant save up', () => {
    let passes = noPasses
    for (let i = 0; i < 50; i++) passes = afterTurn(passes, { tenant: 'a', weight: 1 })
    const turns = inTurn(waiting('aaaabbbb'), passes).map((w) => w.tenant)
    expect(turns.join('')).toBe('babababa')
  })
  test('remembers no more tenants than count', () => {
    let passes = noPasses
    for (let i = 0; i < 1000; i++) passes = afterTurn(passes, { tenant: `t${i}`, weight: 1 })
    for (let i = 0; i < 3; i++) passes = afterTurn(passes, { tenant: 'last', weight: 1 })
    expect(passes.of.size).toBe(1)
  })
})

const callerOf = (namespace: string): Caller => ({ kind: 'service-account', namespace, serviceAccount: 'x' })

interface Seat {
  readonly release: () => void
  readonly started: () => boolean
  readonly positions: number[]
  readonly cancel: AbortController
  readonly done: Promise<unknown>
}

function seat(
  queue: Queue,
  tenant: string,
  group: object = {},
  node = 'n',
  { perNode, build }: Pick<TurnRequest, 'perNode' | 'build'> = {},
): Seat {
  const cancel = new AbortController()
  const positions: number[] = []
  let release: (() => void) | undefined
  const done = queue
    .wait({
      caller: callerOf(tenant),
      node,
      group,
      ...{ perNode, build },
      signal: cancel.signal,
      onPosition: (p) => positions.push(p),
    })
    .then(
      (r) => void (release = r),
      (error: unknown) => error,
    )
  return { release: () => release?.(), started: () => release !== undefined, positions, cancel, done }
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const make = (perNode: number, builds = 0): Queue =>
  createQueue({
    perNode: () => perNode,
    tenant: ({ ...c }) => ({ name: 'namespace' in c ? c.namespace : '', weight: 1, builds }),
  })

describe('the queue of a node', () => {
  test('takes what a client says itself for its own limit, where it is the lower one', async () => {
    for (const [limit, own, running] of [
      [0, 1, 1],
      [3, 2, 2],
      [1, 2, 1],
    ] as const) {
      const queue = make(limit)
      const seats = Array.from({ length: 4 }, () => seat(queue, 'a', {}, 'n', { perNode: own }))
      await settle()
      expect(seats.filter((s) => s.started())).toHaveLength(running)
      seats[0]?.release()
      await settle()
      expect(seats.filter((s) => s.started())).toHaveLength(running + 1)
      // Somebody who says nothing is held to the node's limit only.
      const other = seat(queue, 'b')
      await settle()
      expect(other.started()).toBe(limit === 0 || running < limit)
      for (const one of [...seats, other]) one.cancel.abort(new Error('over'))
    }
  })

  test('lets everybody in when there is no limit', async () => {
    const queue = make(0)
    const seats = [seat(queue, 'a'), seat(queue, 'a')]
    await settle()
    expect(seats.map((s) => s.started())).toEqual([true, true])
  })
  test('tells the place and moves up', async () => {
    const queue = make(1)
    const [first, second, third] = [seat(queue, 'a'), seat(queue, 'a'), seat(queue, 'b')]
    await settle()
    expect([first.started(), second.started(), third.started()]).toEqual([true, false, false])
    // a has had a turn: b is next.
    expect([second.positions.at(-1), third.positions.at(-1)]).toEqual([2, 1])
    first.release()
    await settle()
    expect([second.started(), third.started()]).toEqual([false, true])
    expect(second.positions.at(-1)).toBe(1)
    third.release()
    third.release()
    await settle()
    expect(second.started()).toBe(true)
    second.release()
    expect(queue.waiting().size).toBe(0)
  })
  test('a cancelled client leaves at once', async () => {
    const queue = make(1)
    const [first, second, third] = [seat(queue, 'a'), seat(queue, 'a'), seat(queue, 'a')]
    await settle()
    second.cancel.abort(new Error('gone'))
    expect(queue.waiting().get('n')).toBe(1)
    expect(third.positions.at(-1)).toBe(1)
    await expect(second.done).resolves.toMatchObject({ message: 'gone' })
    first.release()
    await settle()
    expect(third.started()).toBe(true)
  })
  test('builds of one connection share a turn, else those that wait for each other would wait for ever', async () => {
    const queue = make(1)
    const group = {}
    const [first, other, sibling] = [seat(queue, 'a', group), seat(queue, 'b'), seat(queue, 'a', group)]
    await settle()
    expect([first.started(), other.started(), sibling.started()]).toEqual([true, false, true])
    first.release()
    await settle()
    expect(other.started()).toBe(false)
    sibling.release()
    await settle()
    expect(other.started()).toBe(true)
  })
  test('a tenant’s own limit holds over all nodes and holds up nobody else', async () => {
    const queue = make(0, 1)
    const [first, second, other] = [seat(queue, 'a'), seat(queue, 'a', {}, 'm'), seat(queue, 'b', {}, 'm')]
    await settle()
    expect([first.started(), second.started(), other.started()]).toEqual([true, false, true])
    first.release()
    await settle()
    expect(second.started()).toBe(true)
  })
  test.each([
    [{}, 'ababababbb'],
    [{ b: 3 }, 'abbbabbbaa'],
    [{ a: 2 }, 'abaababbbb'],
  ])('gives turns by the weights %j, as builds end', async (weights: Record<string, number>, expected) => {
    const tenant = (caller: Caller) => {
      const name = 'namespace' in caller ? caller.namespace : ''
      return { name, weight: weights[name] ?? 1, builds: 0 }
    }
    const queue = createQueue({ perNode: () => 1, tenant })
    const ended: string[] = []
    const waiting = 'aaaabbbbbb'.split('').map((name) => ({ name, turn: seat(queue, name) }))
    while (ended.length < 10) {
      await settle()
      const [running, ...others] = waiting.filter(({ turn }) => turn.started())
      expect(others).toHaveLength(0)
      ended.push(running?.name ?? 'nobody')
      if (running) waiting.splice(waiting.indexOf(running), 1)
      running?.turn.release()
    }
    expect(ended.join('')).toBe(expected)
  })
  test('ends when its node does, with the reason', async () => {
    let why: string | undefined
    const tenant = () => ({ name: 'a', weight: 1, builds: 0 })
    const queue = createQueue({ perNode: () => 1, tenant, trouble: () => why, lookAgain: 5 })
    const [first, second] = [seat(queue, 'a'), seat(queue, 'a')]
    await settle()
    why = 'is being stopped'
    await expect(second.done).resolves.toMatchObject({ code: 'NODE_DRAINING', status: 'UNAVAILABLE' })
    first.release()
  })
})

describe('connections that wait for each other', () => {
  const started = (...seats: readonly Seat[]): boolean[] => seats.map((s) => s.started())

  test('get one turn beyond the limit, so that all end', async () => {
    const queue = make(1)
    const [a, b] = [{}, {}]
    const [a1, b1] = [seat(queue, 'a', a, 'w-1'), seat(queue, 'b', b, 'w-2')]
    const other = seat(queue, 'c', {}, 'w-2')
    const a2 = seat(queue, 'a', a, 'w-2')
    await settle()
    // So far b ends by itself.
    expect(started(a1, b1, other, a2)).toEqual([true, true, false, false])
    const b2 = seat(queue, 'b', b, 'w-1')
    await settle()
    expect(started(other, a2, b2)).toEqual([false, false, true])
    for (const one of [b1, b2]) one.release()
    await settle()
    // Who waits for nobody but others that end has no turn beyond the limit.
    expect([other, a2].filter((one) => one.started())).toEqual([other])
    other.release()
    await settle()
    expect(a2.started()).toBe(true)
    for (const one of [a1, a2]) one.release()
    expect(queue.waiting().size).toBe(0)
  })
  test('are seen in a circle of three, and where a node takes several', async () => {
    const queue = make(2)
    const groups = [{}, {}, {}] as const
    const nodes = ['w-1', 'w-2', 'w-3']
    const hold = (node: number, group: object): Seat => seat(queue, 'a', group, nodes[node % 3])
    const first = groups.flatMap((group, i) => [hold(i, group), hold(i, [group])])
    await settle()
    expect(started(...first)).toEqual([true, true, true, true, true, true])
    const next = groups.map((group, i) => hold(i + 1, group))
    await settle()
    // Of the two that build on each node one ends by itself.
    expect(started(...next)).toEqual([false, false, false])
    for (const one of first.filter((_, i) => i % 2 === 1)) one.release()
    await settle()
    expect(started(...next)).toEqual([true, true, true])

    const full = make(1)
    const one = groups.map((group, i) => seat(full, 'a', group, nodes[i]))
    const two = groups.map((group, i) => seat(full, 'a', group, nodes[(i + 1) % 3]))
    await settle()
    expect(started(...one)).toEqual([true, true, true])
    expect(started(...two).filter(Boolean)).toHaveLength(1)
  })
  test('a split build that has some of its turns waits for the others like everybody', async () => {
    const queue = make(1)
    const [a, b] = [{}, {}]
    const split = { build: {} }
    const [a1, b1] = [seat(queue, 'a', a, 'w-1', split), seat(queue, 'b', b, 'w-2')]
    const a2 = seat(queue, 'a', a, 'w-2', split)
    const b2 = seat(queue, 'b', b, 'w-1')
    await settle()
    // It is the other one that a turn beyond the limit helps: it has a build that may wait for this one.
    expect(started(a1, b1, a2, b2)).toEqual([true, true, false, true])
    for (const one of [b1, b2]) one.release()
    await settle()
    expect(a2.started()).toBe(true)
  })
  test('get one turn beyond the limit of a node at a time, as long as who has it ends by itself', async () => {
    const queue = make(1)
    const [a, b, c] = [{}, {}, {}]
    const first = [seat(queue, 'a', a, 'w-1'), seat(queue, 'b', b, 'w-2'), seat(queue, 'c', c, 'w-3')] as const
    const [a2, a3] = [seat(queue, 'a', a, 'w-2'), seat(queue, 'a', a, 'w-3')]
    const b2 = seat(queue, 'b', b, 'w-1')
    const c2 = seat(queue, 'c', c, 'w-1')
    await settle()
    // It is not enough: a and c wait for each other too, but on w-1 there is one beyond the limit already.
    expect(started(...first, a2, a3, b2, c2)).toEqual([true, true, true, false, true, true, false])
    for (const one of [first[1], b2]) one.release()
    await settle()
    expect(started(a2, c2)).toEqual([true, false])
    for (const one of [first[0], a2, a3]) one.release()
    await settle()
    expect(started(c2)).toEqual([true])
  })
})
