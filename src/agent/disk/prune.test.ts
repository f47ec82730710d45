import { expect, test } from 'vitest'
import type { PruneProgress } from '../../api/disk.ts'
import { fakeGrpc } from '../../../test/unit/fake-grpc.ts'
import { fieldOf, messages, string } from '../../kernel/grpc/wire.ts'
import { kubeletDefaults } from './limits.ts'
import { type NodeDisk, nodeDisk } from './node.ts'
import { prune } from './prune.ts'
import type { StoredImage } from './reach.ts'

const name = 'docker.io/team/app:1'
const pinned = { 'io.cri-containerd.pinned': 'pinned' }
const image = (digest: string, updatedAt: number, labels = {}): StoredImage => ({ name, digest, updatedAt, labels })
const made = { bytes: 100, labels: { 'buildkit.io/blob/mediatype': 'x' } }

/** A node with one image and one lease of a daemon that is gone. The lease takes as long to go as `meanwhile` does. */
function nodeWith(first: StoredImage, meanwhile: () => StoredImage): { disk: NodeDisk; removed: StoredImage[] } {
  const removed: StoredImage[] = []
  let live = first
  const none = (): Promise<never[]> => Promise.resolve([])
  const never = (): Promise<never> => Promise.reject(new Error('not asked for here'))
  const lease = { id: 'x'.repeat(25), labels: { 'containerd.io/gc.flat': '' }, createdAt: 0, resources: [] }
  const disk: NodeDisk = {
    cache: { runningBuilds: () => Promise.resolve(0), prune: never, records: none },
    ...{ measure: none, temporary: none, alone: () => false, usage: never },
    books: () =>
      Promise.resolve({
        stored: {
          ...{ images: [live], leases: [lease], containers: [], snapshots: new Map() },
          blobs: new Map([
            ['sha256:old', made],
            ['sha256:new', made],
          ]),
        },
        ...{ snapshotter: 'overlayfs', records: [], known: new Set(), since: 0, now: 1e13, built: new Set([name]) },
      }),
    removeLease: () => Promise.resolve(void (live = meanwhile())),
    removeImages: (images) => {
      removed.push(...images)
      return Promise.resolve(new Set(images.map((one) => one.name)))
    },
  }
  return { disk, removed }
}

test.each([
  ['goes when nobody touched it meanwhile', image('sha256:old', 1), ['leaked', 'image']],
  ['stays when a build gave its name to another one', image('sha256:new', 2, pinned), ['leaked']],
  ['stays when one that is not pinned yet has its name', image('sha256:new', 2), ['leaked']],
  ['stays when a build made the same one again', image('sha256:old', 2), ['leaked']],
])('an image %s', async (_, then, expected) => {
  const { disk, removed } = nodeWith(image('sha256:old', 1), () => then)
  const lines: PruneProgress[] = []
  await prune(disk, { kinds: ['leaked', 'image'] }, (line) => lines.push(line))
  expect(lines.flatMap((line) => ('removed' in line && 'id' in line ? [line.removed] : []))).toEqual(expected)
  expect(removed.length).toBe(expected.length - 1)
})

/** A containerd with one image; it heeds the digest of a deletion or, as older ones, does not. */
async function containerdWith(held: StoredImage, heeds: boolean): Promise<{ socket: string; gone: string[] }> {
  const gone: string[] = []
  const socket = await fakeGrpc((method, request) => {
    const call = method.replace('/containerd.services.', '')
    if (call === 'images.v1.Images/Get') {
      const fields = [fieldOf(1, held.name), fieldOf(3, fieldOf(2, held.digest))]
      const updated = fieldOf(8, fieldOf(1, held.updatedAt / 1000))
      return gone.includes(held.name) ? 'NOT_FOUND' : fieldOf(1, Buffer.concat([...fields, updated]))
    }
    if (call !== 'images.v1.Images/Delete') return new Uint8Array()
    const [target] = messages(request, 3)
    if (heeds && target && string(target, 2) !== held.digest) return 'NOT_FOUND'
    gone.push(string(request, 1))
    return new Uint8Array()
  })
  return { socket, gone }
}

const diskAt = (address: string): NodeDisk =>
  nodeDisk({
    place: {
      ...{ node: 'n', address, namespace: 'k8s.io', snapshotter: 'overlayfs', containerdRoot: '/c', root: '/r' },
      ...{ tmpdir: '/t', socket: '/s' },
    },
    ...{ config: {}, kubelet: kubeletDefaults, built: () => new Set<string>() },
  })

test.each([
  ['is removed while it is the one that was chosen', image('sha256:old', 1000), true],
  ['stays when it means another image by now', image('sha256:new', 1000), false],
  ['stays when it was written again', image('sha256:old', 2000), false],
])('a name %s', async (_, held, goes) => {
  for (const heeds of [true, false]) {
    const { socket, gone } = await containerdWith(held, heeds)
    const removed = await diskAt(socket).removeImages([image('sha256:old', 1000)])
    expect({ gone, removed: [...removed] }).toEqual(
      goes ? { gone: [name], removed: [name] } : { gone: [], removed: [] },
    )
  }
})

test('the deletion names the digest, for what happens after the last look', async () => {
  const asked: string[] = []
  const socket = await fakeGrpc((method, request) => {
    if (method.endsWith('Images/Get')) {
      return fieldOf(1, Buffer.concat([fieldOf(1, name), fieldOf(3, fieldOf(2, 'sha256:old'))]))
    }
    if (method.endsWith('Images/Delete')) asked.push(...messages(request, 3).map((target) => string(target, 2)))
    return new Uint8Array()
  })
  await diskAt(socket).removeImages([image('sha256:old', 0)])
  expect(asked).toEqual(['sha256:old'])
})
