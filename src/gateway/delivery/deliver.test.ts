import { expect, test } from 'vitest'
import type { BuiltImage } from '../../api/images.ts'
import { createProgress } from '../progress/progress.ts'
import { deliver, type DeliverOptions } from './deliver.ts'
import { nextTransfers } from './plan.ts'
import { deliveryTargets, parseDeliverTo, readDelivery } from './targets.ts'

const image: BuiltImage = { name: 'docker.io/library/app:1', digest: `sha256:${'a'.repeat(64)}`, version: 1 }
const nodes = (count: number): string[] => Array.from({ length: count }, (_, i) => `n${i + 1}`)
const never = new AbortController().signal

test('transfers go to the least busy source, never more than a source may send', () => {
  const plan = (sources: [string, number][], waiting: string[]) =>
    nextTransfers({ sources: new Map(sources), waiting, perSource: 2 }).map((t) => `${t.source}>${t.target}`)
  expect(plan([['a', 0]], nodes(5))).toEqual(['a>n1', 'a>n2'])
  expect(
    plan(
      [
        ['a', 2],
        ['b', 1],
        ['c', 0],
      ],
      nodes(5),
    ),
  ).toEqual(['c>n1', 'b>n2', 'c>n3'])
  expect(plan([['a', 2]], nodes(1))).toEqual([])
  expect(plan([], nodes(1))).toEqual([])
})

test('with every round there are more sources: 1,000 nodes need 7 rounds of 2 each', () => {
  const sources = new Map([['builder', 0]])
  const waiting = nodes(1000)
  let rounds = 0
  while (waiting.length > 0) {
    rounds += 1
    for (const { target } of nextTransfers({ sources, waiting, perSource: 2 })) {
      waiting.splice(waiting.indexOf(target), 1)
      sources.set(target, 0)
    }
  }
  expect(rounds).toBe(7)
})

function run(
  targets: readonly string[],
  more: Partial<DeliverOptions> & { signal?: AbortSignal; images?: readonly BuiltImage[] },
) {
  const { signal = never, images = [image], ...options } = more
  return deliver(
    { images, sources: ['builder'], targets, progress: createProgress(), signal },
    {
      pull: () => Promise.resolve(10),
      superseded: () => undefined,
      lost: () => undefined,
      onDelivered: () => Promise.resolve(),
      perSource: 2,
      ...options,
    },
  )
}

test('every target gets it, from nodes that have it, and no node sends to more than two at once', async () => {
  const have = new Set(['builder'])
  let told = 0
  const sending = new Map<string, number>()
  let most = 0
  const sentBy = new Set<string>()
  const results = await run(nodes(30), {
    async pull(_target, _image, peers) {
      const source = peers[0] as string
      // Besides its source some of those that have it: the source may end meanwhile.
      for (const peer of peers) expect(have).toContain(peer)
      expect(peers).toHaveLength(Math.min(5, have.size))
      expect(new Set(peers).size).toBe(peers.length)
      told = Math.max(told, peers.length)
      sentBy.add(source)
      sending.set(source, (sending.get(source) ?? 0) + 1)
      most = Math.max(most, sending.get(source) ?? 0)
      // Others may begin meanwhile.
      await new Promise(setImmediate)
      sending.set(source, (sending.get(source) ?? 0) - 1)
      return 10
    },
    onDelivered: (node) => Promise.resolve(void have.add(node)),
  })
  expect(results.map((r) => r.node).toSorted()).toEqual(nodes(30).toSorted())
  expect(results.every((r) => r.failure === undefined && r.bytes === 10)).toBe(true)
  expect(most).toBe(2)
  expect(told).toBe(5)
  expect(sentBy.size).toBeGreaterThan(5)
})

test('a target that fails is tried again and then named; the others are not held up', async () => {
  const asked: string[] = []
  const results = await run(['bad', 'once', 'good'], {
    pull(target) {
      asked.push(target)
      const fails = target === 'bad' || (target === 'once' && asked.filter((t) => t === 'once').length === 1)
      return fails ? Promise.reject(new Error('no space left')) : Promise.resolve(1)
    },
  })
  const failed = results.filter((r) => r.failure !== undefined)
  expect(failed).toEqual([{ node: 'bad', bytes: 0, failure: 'no space left', superseded: false }])
  expect(asked.filter((t) => t === 'bad')).toHaveLength(2)
})

test('a target that is lost is named at once: nothing is asked of it, and no source waits for it', async () => {
  const asked: string[] = []
  const results = await run(['dead', 'good'], {
    perSource: 1,
    lost: (node) => (node === 'dead' ? 'the node is not ready' : undefined),
    pull(target) {
      asked.push(target)
      return target === 'dead' ? new Promise(() => undefined) : Promise.resolve(1)
    },
  })
  expect(asked).toEqual(['good'])
  expect(results).toEqual([
    { node: 'dead', bytes: 0, failure: 'the node is not ready', superseded: false },
    { node: 'good', bytes: 1, failure: undefined, superseded: false },
  ])
})

test('a target that is lost while it gets the image is not tried again', async () => {
  const asked: string[] = []
  const results = await run(['dies', 'fails'], {
    lost: (node) => (node === 'dies' && asked.includes(node) ? 'the node is not ready' : undefined),
    pull(target) {
      asked.push(target)
      return Promise.reject(new Error('nothing was heard of it'))
    },
  })
  expect(asked.toSorted()).toEqual(['dies', 'fails', 'fails'])
  expect(results.map((r) => r.failure)).toEqual(['nothing was heard of it', 'nothing was heard of it'])
})

test('who cancels ends it: what runs is told, what waits does not begin', async () => {
  const abort = new AbortController()
  const begun: string[] = []
  const running = run(nodes(5), {
    signal: abort.signal,
    pull: (target, _image, _peers, _onBytes, signal) => {
      begun.push(target)
      return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
    },
  })
  abort.abort(new Error('the client went away'))
  const results = await running
  expect(begun).toEqual(['n1', 'n2'])
  expect(results.map((r) => r.failure)).toEqual(Array(5).fill('the client went away'))
})

test('an image that was overtaken is delivered no further, and that is no failure', async () => {
  let overtaken = false
  const results = await run(nodes(4), {
    superseded: () => (overtaken ? 'a newer build won' : undefined),
    pull: () => {
      overtaken = true
      return Promise.resolve(1)
    },
  })
  expect(results.every((r) => r.failure === undefined)).toBe(true)
  expect(results.filter((r) => r.superseded).length).toBeGreaterThan(1)
})

const other: BuiltImage = { ...image, name: 'docker.io/library/other:1', digest: `sha256:${'b'.repeat(64)}` }

test.each(['before', 'during', 'after'])(
  'an image that is overtaken %s its pull takes no other one with it',
  async (when) => {
    let overtaken = when === 'before'
    const pulled: string[] = []
    const delivered: string[] = []
    const results = await run(['n1'], {
      images: [image, other],
      superseded: ({ name }) => (overtaken && name === image.name ? 'a newer build won' : undefined),
      pull(_node, { name }) {
        pulled.push(name)
        overtaken = true
        if (when === 'during' && name === image.name) return Promise.reject(new Error('another digest came'))
        return Promise.resolve(1)
      },
      onDelivered(_node, images) {
        delivered.push(...images.map(({ name }) => name))
        return Promise.resolve()
      },
    })
    expect(pulled).toEqual(when === 'before' ? [other.name] : [image.name, other.name])
    expect(delivered).toEqual([other.name])
    expect(results).toEqual([{ node: 'n1', bytes: when === 'after' ? 2 : 1, failure: undefined, superseded: false }])
  },
)

test('that an image was overtaken hides no failure of another one', async () => {
  const results = await run(['n1'], {
    images: [image, other],
    superseded: ({ name }) => (name === image.name ? 'a newer build won' : undefined),
    pull: () => Promise.reject(new Error('no space left')),
  })
  expect(results).toEqual([{ node: 'n1', bytes: 0, failure: 'no space left', superseded: false }])
})

test('what a client may ask for', () => {
  expect(['targets', 'all', 'none', '3'].map(parseDeliverTo)).toEqual(['targets', 'all', 'none', 3])
  for (const wrong of ['', '0', '-1', 'some', '1.5']) expect(() => parseDeliverTo(wrong)).toThrow('insitu.deliver')
  expect(readDelivery({ 'deliver-required': 'true' })).toEqual({ required: true })
  expect(() => readDelivery({ 'deliver-required': 'yes' })).toThrow('insitu.deliver-required')
})

test('which nodes that is', () => {
  const options = { builder: 'b', placed: ['b', 'p1', 'p2'], able: ['a1', 'b', 'p1', 'a2'] }
  expect(deliveryTargets({ ...options, to: 'targets' })).toEqual(['p1', 'p2'])
  expect(deliveryTargets({ ...options, to: 'none' })).toEqual([])
  expect(deliveryTargets({ ...options, to: 'all' })).toEqual(['p1', 'p2', 'a1', 'a2'])
  expect(deliveryTargets({ ...options, to: 1 })).toEqual([])
  expect(deliveryTargets({ ...options, to: 4 })).toEqual(['p1', 'p2', 'a1'])
})
