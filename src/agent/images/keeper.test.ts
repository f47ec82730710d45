import { describe, expect, it, test, vi } from 'vitest'
import { createLogger } from '../../kernel/log.ts'
import type { ContainerdImages } from './containerd-images.ts'
import { createKeeper, type PutBack } from './keeper.ts'
import { pinLabel } from './pins.ts'
import type { Memory, NodeImage } from './record.ts'

const name = 'registry.test/team/app:1'
/** A descriptor here says its digest and nothing else. */
const image = (as: string, digest: string): NodeImage => ({ name: as, digest, target: Buffer.from(digest), labels: {} })
const never = (): never => {
  throw new Error('nothing of this is done here')
}

/** A keeper of a node with names that a test writes. @param last what an agent before it has left. */
function open(last?: { readonly names: Map<string, NodeImage>; readonly memory: Memory }) {
  const state = { now: 0, building: new Set<string>(), asked: 0, inContainers: new Set<string>(), builtHere: '' }
  const putBacks: PutBack[] = []
  const held = { all: new Set<string>() as ReadonlySet<string>, whole: new Set<string>() as ReadonlySet<string> }
  const names = last?.names ?? new Map<string, NodeImage>()
  const memory: Memory = last?.memory ?? { records: new Map(), known: new Map(), wanted: new Set() }
  const images: ContainerdImages = {
    list: () => Promise.resolve([...names.values()]),
    get: (wanted) => Promise.resolve(names.get(wanted)),
    contentLabels: (digest) =>
      Promise.resolve(
        digest === state.builtHere
          ? { 'containerd.io/gc.ref.content.0': 'sha256:config' }
          : { 'containerd.io/distribution.source.registry.test': 'team/app' },
      ),
    inContainers: () => Promise.resolve(state.inContainers),
    setLabels({ name }, labels) {
      const image = names.get(name)
      if (image) names.set(name, { ...image, labels: { ...image.labels, ...labels } })
      return Promise.resolve()
    },
    setTarget: (as, target) => Promise.resolve(void names.set(as, image(as, Buffer.from(target).toString()))),
    ...{ create: never, delete: never, hasSnapshot: never, blobs: never, snapshots: never },
    ...{ write: never, subscribe: never, close: never },
  }
  const keeper = createKeeper({
    ...{ images, memory },
    holds: {
      keep: (all, whole = new Set()) => Promise.resolve(void Object.assign(held, { all, whole })),
      ...{ arriving: () => Promise.resolve(), release: () => Promise.resolve() },
    },
    save: () => Promise.resolve(),
    pull: never,
    building() {
      state.asked += 1
      return Promise.resolve(state.building)
    },
    ...{ config: { keep: 1, keepFor: 3600 }, log: createLogger({ level: 'silent' }), now: () => state.now },
    ...{ onRevision: () => {}, onPutBack: (event) => void putBacks.push(event), patience: 10 },
  })
  return {
    ...{ state, names, memory, keeper, held, putBacks },
    pinned: (as: string): boolean => names.get(as)?.labels[pinLabel] === 'pinned',
    /** containerd has pulled this. */
    pulled: (digest: string, as = name): Promise<void> => {
      names.set(as, image(as, digest))
      return keeper.note(as)
    },
    put: (digest: string, as: string) => void names.set(as, image(as, digest)),
  }
}

test('a pull that takes hours brings the build that was announced when it began', async () => {
  const { state, memory, keeper, pulled } = open()
  const announced = { name, digest: 'sha256:a', version: 1 }
  keeper.announce(announced, 'delivered')
  // Names that come meanwhile clear away what is old.
  state.now += 3 * 3_600_000
  await pulled('sha256:b', 'registry.test/team/app:2')
  await pulled('sha256:a')
  expect(memory.records.get(name)).toMatchObject(announced)
  expect(memory.known.has(name)).toBe(false)
})

test('a pull from a registry does not keep the build that is under way from its name', async () => {
  const { state, memory, pulled } = open()
  state.building.add(name)
  await pulled('sha256:a')
  await pulled('sha256:b')
  expect(memory.known.get(name)).toMatchObject({ digest: 'sha256:b', built: true })
})

test('a name that was protected before stays so, whatever somebody builds past the door', async () => {
  const { state, memory, pulled } = open()
  await pulled('sha256:a')
  state.building.add(name)
  await pulled('sha256:b')
  expect(memory.known.get(name)).toMatchObject({ digest: 'sha256:b', built: false })
})

test('the daemon is asked once for all names of a node that are new', async () => {
  const { state, memory, keeper, put } = open()
  for (const tag of ['1', '2', '3']) put('sha256:a', `registry.test/team/app:${tag}`)
  await keeper.reconcile()
  expect([memory.known.size, state.asked]).toEqual([3, 1])
})

describe('what was built under a name that was put back', () => {
  it.each([
    ['insitu built is held for minutes: its build may end on other nodes later', 'record', 15],
    ['was protected is let go of after one', 'protected', 1],
  ] as const)('that %s', async (_, as, minutes) => {
    const { state, names, keeper, held, putBacks, pulled } = open()
    if (as === 'record') keeper.announce({ name, digest: 'sha256:a', version: 1 }, 'built')
    await pulled('sha256:a')
    state.builtHere = 'sha256:b'
    await pulled('sha256:b')
    await vi.waitFor(() => expect(names.get(name)?.digest).toBe('sha256:a'))
    await keeper.noteContainers()
    expect(putBacks).toEqual([{ name, digest: 'sha256:a', instead: 'sha256:b', as }])
    for (const past of [-1000, 1000]) {
      state.now = minutes * 60_000 + past
      await keeper.noteContainers()
      expect([...held.all].toSorted()).toEqual(past < 0 ? ['sha256:a', 'sha256:b'] : ['sha256:a'])
    }
  })
})

describe('a built image in a container whose name goes to', () => {
  it.each([
    ['the next build', true],
    ['what was pulled from a registry', false],
  ])('%s stays pinned and held until the container is gone', async (_, isBuild) => {
    const { state, memory, keeper, held, pinned, pulled, put } = open()
    keeper.announce({ name, digest: 'sha256:a', version: 1 }, 'built')
    await pulled('sha256:a')
    // The CRI plug-in's name, by which its container tells what it runs.
    put('sha256:a', 'sha256:config')
    state.inContainers.add('sha256:config')
    await keeper.reconcile()
    if (isBuild) keeper.announce({ name, digest: 'sha256:b', version: 2 }, 'built')
    await pulled('sha256:b')
    expect(memory.records.get(name)?.digest).toBe(isBuild ? 'sha256:b' : undefined)
    // Also when containerd is looked at anew.
    for (const look of [() => Promise.resolve(), () => keeper.noteContainers(), () => keeper.reconcile()]) {
      await look()
      expect(pinned('sha256:config')).toBe(true)
      expect(held.all).toContain('sha256:a')
      expect(held.whole, 'with its layers').toContain('sha256:a')
    }
    state.inContainers.clear()
    await keeper.noteContainers()
    expect(pinned('sha256:config')).toBe(false)
    expect([...held.all]).toEqual(['sha256:b'])
  })
})

test('a built image in a container whose name went to the next build stays pinned and held by the next agent', async () => {
  const before = open()
  before.keeper.announce({ name, digest: 'sha256:a', version: 1 }, 'built')
  await before.pulled('sha256:a')
  before.put('sha256:a', 'sha256:config')
  before.state.inContainers.add('sha256:config')
  await before.keeper.reconcile()
  before.keeper.announce({ name, digest: 'sha256:b', version: 2 }, 'built')
  await before.pulled('sha256:b')
  await before.keeper.stop()
  const { state, keeper, held, pinned, put } = open(before)
  // Not what others have pinned, or what nobody has.
  put('sha256:c', 'sha256:other')
  state.inContainers = new Set(['sha256:config', 'sha256:other'])
  await keeper.reconcile()
  expect([pinned('sha256:config'), pinned('sha256:other')]).toEqual([true, false])
  expect([...held.whole].toSorted()).toEqual(['sha256:a', 'sha256:b'])
  state.inContainers.clear()
  await keeper.reconcile()
  expect(pinned('sha256:config')).toBe(false)
  expect([...held.all]).toEqual(['sha256:b'])
})
