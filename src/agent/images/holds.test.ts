import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type FakeLeases, fakeLeases } from '../../../test/unit/fake-leases.ts'
import { createLogger } from '../../kernel/log.ts'
import type { ContainerdImages } from './containerd-images.ts'
import { createHolds, holdLease } from './holds.ts'
import { createKeeper } from './keeper.ts'
import type { ImageRecord, Memory } from './record.ts'

let containerd: FakeLeases
beforeEach(async () => (containerd = await fakeLeases()))
afterEach(() => containerd.close())

const inLease = (): string[] => [...(containerd.leases.get(holdLease) ?? [])].toSorted()

test('layers that arrive at once after a clean stop are kept: the lease is made once, by any of them', async () => {
  containerd.write = 20
  const holds = createHolds(containerd.socket, 'k8s.io', () => Promise.resolve([]))
  const layers = ['sha256:a', 'sha256:b', 'sha256:c']
  await Promise.all(layers.map((layer) => holds.arriving(layer)))
  expect(inLease()).toEqual(layers)
})

/** Images of as many layers, by digest, which the last agent has left held where containerd drops layers. */
function images(count: number, layers: number): Map<string, readonly string[]> {
  const all = new Map<string, readonly string[]>()
  for (let i = 0; i < count; i += 1) {
    all.set(`sha256:${i}`, [`sha256:${i}`, ...Array.from({ length: layers }, (_, layer) => `sha256:${i}-${layer}`)])
  }
  containerd.leases.set(holdLease, new Set([...all.values()].flat()))
  return all
}
const open = (all: ReadonlyMap<string, readonly string[]>) =>
  createHolds(containerd.socket, 'k8s.io', (digest) => Promise.resolve(all.get(digest) ?? []))

test('a build is recorded at once although the last agent has left thousands of layers', async () => {
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
  expect(inLease()).toEqual([...all.values()].flat().toSorted())
})

test('where containerd drops layers the lease stays for the next agent, which lets go of what is not wanted any more', async () => {
  const all = images(3, 10)
  containerd.write = 20
  const holds = open(all)
  const kept = new Set(all.keys())
  await holds.keep(kept, kept)
  const begun = performance.now()
  await holds.release()
  expect(performance.now() - begun).toBeLessThan(200)
  expect(inLease()).toEqual([...all.values()].flat().toSorted())
  const next = open(all)
  await next.keep(new Set(['sha256:1']), new Set(['sha256:1']))
  expect(inLease()).toEqual(all.get('sha256:1')?.toSorted())
  await next.release()
  // Nothing else holds what cleaning the disk or the node takes away.
  expect([...containerd.leases.keys()]).toEqual([holdLease])
  await createHolds(containerd.socket, 'k8s.io').release()
  expect([...containerd.leases.keys()]).toEqual([])
})

test('an image’s own digest is let go of last: whoever waits for that wants all of it gone', async () => {
  const all = images(1, 60)
  const holds = open(all)
  const kept = new Set(all.keys())
  await holds.keep(kept, kept)
  containerd.write = 5
  const letGo = holds.keep(new Set())
  await expect.poll(() => inLease().includes('sha256:0'), { interval: 1 }).toBe(false)
  expect(inLease()).toEqual([])
  await letGo
  await holds.release()
})

test('a layer that could not be held is held with the next request for it', async () => {
  const holds = open(new Map())
  containerd.fails = (method) => method === 'AddResource'
  await expect(holds.arriving('sha256:a')).rejects.toMatchObject({ code: 'GRPC_CALL_FAILED' })
  containerd.fails = () => false
  await holds.arriving('sha256:a')
  expect(inLease()).toEqual(['sha256:a'])
})

test('a layer of the last agent’s that arrives anew while the others are let go of stays', async () => {
  const all = images(1, 40)
  containerd.write = 10
  const holds = open(all)
  const before = inLease().length
  const letGo = holds.keep(new Set())
  await vi.waitFor(() => expect(inLease().length).toBeLessThan(before))
  await holds.arriving('sha256:0-39')
  await letGo
  expect(inLease()).toEqual(['sha256:0-39'])
  await holds.release()
})
