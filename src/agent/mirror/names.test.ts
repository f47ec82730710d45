import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { BuiltImage, Lookup, Peer } from '../../api/images.ts'
import type { ContentStore } from './content.ts'
import { createLookups, type Joined, type Lookups } from './lookups.ts'
import { resolveName, type Waiting } from './names.ts'

// What a pull is told while the gateway that relays the build is too busy to answer in time.

const name = 'docker.io/library/a:1'
const image = (version: number): BuiltImage => ({ name, digest: `sha256:${version}`, version })
const peers: readonly Peer[] = [{ node: 'n', host: 'n', port: 1 }]
const here = (version: number): Joined => ({ state: 'here', image: image(version), peers })
const building: Joined = { state: 'building', by: ['busy'] }

const node = (own?: BuiltImage) => ({
  records: { find: () => own, list: () => [], revision: () => 0 },
  store: { size: () => Promise.resolve(1) } as unknown as ContentStore,
})

/** A pull, to which gateways say these things one after the other, the last one for good. Waiting takes all of the time. */
async function pull(says: readonly Joined[], waiting: Waiting = {}, own?: BuiltImage) {
  let clock = 0
  let asked = 0
  const waited: string[] = []
  const lookups: Lookups = {
    ask: () => Promise.resolve(says[Math.min(asked++, says.length - 1)] as Joined),
    change(_, by, milliseconds) {
      waited.push(`${by.join()} ${milliseconds}`)
      // It answers when it is asked the second time, as long as it is said to do anything at all.
      clock += asked < says.length ? 100 : milliseconds
      return Promise.resolve({})
    },
    demand: () => Promise.reject(new Error('nothing is demanded here')),
  }
  const resolved = await resolveName(name, 10_000, { ...node(own), lookups, now: () => clock }, waiting)
  return { resolved, waited, asked }
}

test.each<[string, Joined]>([
  ['nobody has it', { state: 'none', unheard: ['busy'] }],
  ['nobody answers', { state: 'unreachable', unheard: ['busy'] }],
  ['others have an older one', { ...here(1), unheard: ['busy'] }],
])('a held pull is not over when the gateway that has the build is late once: %s', async (_, others) => {
  const { resolved } = await pull([building, others, building, here(2)])
  expect(resolved).toMatchObject({ kind: 'remote', image: image(2) })
  // A redirect is there only because something was being built, whoever relays it.
  const { resolved: next } = await pull([others, building, here(2)], { held: true })
  expect(next).toMatchObject({ kind: 'remote', image: image(2) })
})

test('an older image of this node is not taken either', async () => {
  const { resolved } = await pull([building, { state: 'none', unheard: ['busy'] }, building, here(2)], {}, image(1))
  expect(resolved).toMatchObject({ kind: 'remote', image: image(2) })
})

test('a gateway that says nothing any more holds a pull for one request, and for a moment where there is an image', async () => {
  const silent: Joined = { state: 'none', unheard: ['busy'] }
  const { resolved, waited } = await pull([building, silent])
  // A second of its time is for the answer.
  expect([resolved.kind, waited]).toEqual(['building', ['busy 9000', 'busy 8900']])
  expect((await pull([silent], { held: true })).resolved).toEqual({ kind: 'none' })
  const others = await pull([building, { ...here(1), unheard: ['busy'] }])
  expect([others.resolved.kind, others.waited]).toEqual(['remote', ['busy 9000', 'busy 1000']])
  const own = await pull([silent], { held: true }, image(1))
  expect([own.resolved.kind, own.waited]).toEqual(['local', ['busy 1000']])
})

test('where pulls come one at a time gateways that have said nothing of a build keep the others for a moment only', async () => {
  const silent: Joined = { state: 'none', unheard: ['busy'] }
  const { resolved, waited } = await pull([silent], { held: true, serial: true })
  expect([resolved, waited]).toEqual([{ kind: 'none' }, ['busy 2000']])
  // One that has the build is one of those that are silent by then.
  const relays = await pull([silent, building, silent], { held: true, serial: true })
  expect([relays.resolved.kind, relays.waited]).toEqual(['building', ['busy 2000', 'busy 8900', 'busy 8800']])
})

test('a name of which nobody has said anything is asked for once, whoever is late', async () => {
  const { resolved, asked, waited } = await pull([{ state: 'none', unheard: ['busy'] }])
  expect([resolved.kind, asked, waited]).toEqual(['none', 1, []])
})

test('the gateway that has the build takes longer for its second answer than the others are given', async () => {
  let asked = 0
  const lookups = createLookups({
    gateways: {
      connected: () => ['quick', 'busy'],
      async get(address, path): Promise<Lookup> {
        if (address === 'quick') return { state: 'none' }
        if (path.includes('wait=')) await sleep(50)
        else if (++asked === 2) await sleep(400)
        return asked < 3 ? { state: 'building', node: 'n' } : { state: 'here', image: image(2), peers }
      },
      close() {},
    },
  })
  const resolved = await resolveName(name, 20_000, { ...node(), lookups })
  expect(resolved).toMatchObject({ kind: 'remote', image: image(2) })
})

/** A pull while one of two gateways answers so many milliseconds after each question. */
async function pullFrom(slow: number, answer: (path: string) => Lookup, waiting: Waiting = {}) {
  const asked: string[] = []
  let first = !waiting.held
  const lookups = createLookups({
    gateways: {
      connected: () => ['quick', 'slow'],
      async get(address, path): Promise<Lookup> {
        if (address === 'quick') return { state: 'none' }
        asked.push(path)
        if (!first) await sleep(slow)
        first = false
        return answer(path)
      },
      close() {},
    },
  })
  return { resolved: await resolveName(name, 5000, { ...node(), lookups }, waiting), asked }
}

test('a gateway that is always late has its word all the same: nobody waits for it any more', async () => {
  const { resolved, asked } = await pullFrom(400, () => ({ state: 'none' }), { held: true })
  expect([resolved, asked.length]).toEqual([{ kind: 'none' }, 3])
})

test('so has the one that had the build, of its end', async () => {
  const found: Lookup = { state: 'here', image: image(2), peers }
  const { resolved, asked } = await pullFrom(400, (path) =>
    path.includes('wait=') ? found : { state: 'building', node: 'n' },
  )
  expect(resolved).toMatchObject({ kind: 'remote', image: image(2) })
  expect(asked.length).toBe(3)
})

test('one that cannot be asked does not end the wait for another', async () => {
  const lookups = createLookups({
    gateways: {
      connected: () => ['gone', 'busy'],
      async get(address): Promise<Lookup> {
        if (address === 'gone') throw new Error('reset')
        await sleep(700)
        return { state: 'here', image: image(2), peers }
      },
      close() {},
    },
  })
  const change = await lookups.change(name, ['gone', 'busy'], 5000)
  expect(change).toMatchObject({ from: 'busy', word: { state: 'here' } })
})

test('gateways that say nothing are given a second beyond the time, which a pull takes off its own', async () => {
  const hung = (signal: AbortSignal): Promise<never> =>
    new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(new Error('no answer in time')))
    })
  const lookups = createLookups({
    gateways: { connected: () => ['hung'], get: (_, __, signal) => hung(signal), close() {} },
  })
  const begun = performance.now()
  expect(await Promise.all([lookups.change(name, ['hung'], 100), lookups.demand(name, 'hung', 100)])).toEqual([{}, {}])
  expect(performance.now() - begun).toBeLessThan(1500)
})
