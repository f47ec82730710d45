import { afterEach, beforeEach, expect, test } from 'vitest'
import { type FakeLeases, fakeLeases } from '../../../test/unit/fake-leases.ts'
import { createLogger } from '../../kernel/log.ts'
import type { ContainerdImages } from './containerd-images.ts'
import { createHolds, holdLease, leftLease } from './holds.ts'
import { createKeeper } from './keeper.ts'
import type { ImageRecord, Memory } from './record.ts'

let containerd: FakeLeases
beforeEach(async () => (containerd = await fakeLeases()))
afterEach(() => containerd.close())

const inLease = (lease = holdLease): string[] => [...(containerd.leases.get(lease) ?? [])].toSorted()

test('layers that arrive at once after a clean stop are kept: the lease is made once, by any of them', async () => {
  containerd.write = 20
  const holds = createHolds(containerd.socket, 'k8s.io', () => Promise.resolve([]))
  const layers = ['sha256:a', 'sha256:b', 'sha256:c']
  await Promise.all(layers.map((layer) => holds.arriving(layer)))
  expect(inLease()).toEqual(layers)
})

/** Images of as many layers, by digest, and what the last agent left of them where containerd drops layers. */
function images(count: number, layers: number): Map<string, readonly string[]> {
  const all = new Map<string, readonly string[]>()
  for (let i = 0; i < count; i += 1) {
    all.set(`sha256:${i}`, [`sha256:${i}`, ...Array.from({ length: layers }, (_, layer) => `sha256:${i}-${layer}`)])
  }
  containerd.leases.set(leftLease, new Set([...all.values()].flat()))
  return all
}
const open = (all: ReadonlyMap<string, readonly string[]>) =>
  createHolds(containerd.socket, 'k8s.io', (digest) => Promise.resolve(all.get(digest) ?? []))

test('a build is recorded at once while thousands of layers are taken over from the last agent', async () => {
  const all = images(20, 100)
  const records = [...all.keys()].map((digest, i): ImageRecord => {
    const name = `registry.test/team/app:${i}`
    return { ...{ name, digest, version: i, target: Uint8Array.of() }, ...{ arrival: 'built', since: 0, lastUsed: 0 } }
  })
  const memory: Memory = {
    ...{ records: new Map(records.map((record) => [record.name, record])), known: new Map(), wanted: new Set() },
  }
  const never = (): never => {
    throw new Error('nothing of this is done here')
  }
  const listed = records.map(({ name, digest, target }) => ({ name, digest, target, labels: {} }))
  const node: ContainerdImages = {
    list: () => Promise.resolve(listed),
    get: (name) => Promise.resolve(listed.find((image) => image.name === name)),
    contentLabels: () => Promise.resolve({}),
    inContainers: () => Promise.resolve(new Set()),
    setLabels: () => Promise.resolve(),
    ...{ create: never, setTarget: never, delete: never, hasSnapshot: never, blobs: never, snapshots: never },
    ...{ write: never, subscribe: never, close: never },
  }
  const holds = open(all)
  const keeper = createKeeper({
    ...{ images: node, holds, memory, save: () => Promise.resolve(), pull: never, onPutBack: never },
    ...{ building: () => Promise.resolve(new Set<string>()), onRevision: () => {} },
    ...{ config: { keep: 1, keepFor: 3600 }, log: createLogger({ level: 'silent' }) },
  })
  containerd.write = 20
  const begun = performance.now()
  const reconciled = keeper.reconcile()
  await keeper.change(() => undefined)
  await reconciled
  expect(performance.now() - begun).toBeLessThan(2500)
  // All is kept by one of them.
  expect(inLease()).toEqual(expect.arrayContaining([...all.keys()]))
  expect(inLease(leftLease)).toHaveLength(2020)
  containerd.write = 0
  await expect.poll(() => containerd.leases.has(leftLease)).toBe(false)
  expect(inLease()).toEqual([...all.values()].flat().toSorted())
})

test('meanwhile the layers of a new image are kept at once, and those of one that is gone not any more', async () => {
  const all = images(2, 50)
  all.set('sha256:new', ['sha256:new', 'sha256:new-0'])
  const holds = open(all)
  containerd.write = 20
  const [old, gone] = ['sha256:0', 'sha256:1']
  await holds.keep(new Set([old, gone]), new Set([old, gone]))
  await holds.keep(new Set([old, 'sha256:new']), new Set([old, 'sha256:new']))
  expect(inLease()).toEqual(expect.arrayContaining(['sha256:new', 'sha256:new-0']))
  expect(containerd.leases.has(leftLease)).toBe(true)
  containerd.write = 0
  await expect.poll(() => containerd.leases.has(leftLease)).toBe(false)
  await holds.keep(new Set([old, 'sha256:new']), new Set([old, 'sha256:new']))
  expect(inLease()).toEqual([old, 'sha256:new'].flatMap((digest) => all.get(digest) ?? []).toSorted())
})

test('what could not be taken over stays with the last agent’s lease, and the next look tries again', async () => {
  const all = images(1, 50)
  const holds = open(all)
  const kept = new Set(all.keys())
  let added = 0
  containerd.fails = (method) => method === 'AddResource' && ++added > 20
  await holds.keep(kept, kept)
  await expect.poll(() => added).toBeGreaterThan(20)
  containerd.fails = () => false
  await holds.release()
  expect(containerd.leases.has(leftLease)).toBe(true)
  expect(inLease(leftLease)).toHaveLength(51)
  const next = open(all)
  await next.keep(kept, kept)
  await expect.poll(() => containerd.leases.has(leftLease)).toBe(false)
  await next.release()
  expect([containerd.leases.has(holdLease), inLease(leftLease)]).toEqual([false, [...all.values()].flat().toSorted()])
})
