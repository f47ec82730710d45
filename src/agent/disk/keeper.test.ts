import { expect, test } from 'vitest'
import type { FileSystemUse } from '../../api/disk.ts'
import { InsituError } from '../../kernel/errors.ts'
import { createLogger } from '../../kernel/log.ts'
import type { Books } from './account.ts'
import { startKeeper } from './keeper.ts'
import { kubeletDefaults, limitsOf } from './limits.ts'
import type { NodeDisk } from './node.ts'

const total = { bytes: 1000, inodes: 1000 }
const full: FileSystemUse = {
  ...{ holds: ['containerd', 'buildkit', 'temporary'], path: '/var/lib' },
  bytes: { total: 1000, used: 990 },
  inodes: { total: 1000, used: 0 },
  limits: limitsOf(total, kubeletDefaults, {}),
}
const image = (name: string, digest: string) => ({ name, digest, labels: {}, updatedAt: 0 })
const made = { bytes: 100, labels: { 'buildkit.io/blob/mediatype': 'x' } }
const books: Books = {
  stored: {
    snapshots: new Map(),
    blobs: new Map([
      ['sha256:old', made],
      ['sha256:new', made],
    ]),
    images: [image('sha256:config', 'sha256:old'), image('docker.io/team/app:1', 'sha256:new')],
    leases: [],
    containers: [],
  },
  ...{ snapshotter: 'overlayfs', records: [], known: new Set<string>(), since: 0, now: 0 },
  built: new Set(['docker.io/team/app:1']),
}

/** A full disk whose daemon does not answer. */
function withoutDaemon(alone: boolean): { disk: NodeDisk; removed: string[] } {
  const removed: string[] = []
  const away = (): Promise<never> => Promise.reject(new InsituError('GRPC_CALL_FAILED', 'nobody listens'))
  const disk: NodeDisk = {
    cache: { records: away, prune: away, runningBuilds: away },
    alone: () => alone,
    measure: () => Promise.resolve([full]),
    books: (known = false) => (known ? Promise.resolve(books) : away()),
    temporary: () => Promise.resolve([{ path: '/nowhere/buildkit1', bytes: 1, inodes: 1, stale: true }]),
    usage: away,
    removeImages(images) {
      const names = images.map(({ name }) => name)
      removed.push(...names)
      return Promise.resolve(new Set(names))
    },
    removeLease: away,
  }
  return { disk, removed }
}

test.each([
  ['removes what needs no daemon while none runs', true, ['sha256:config']],
  ['removes nothing while one runs and does not answer', false, []],
])('%s', async (_, alone, expected) => {
  const { disk, removed } = withoutDaemon(alone)
  let looks = 0
  const measure = (): Promise<FileSystemUse[]> => ((looks += 1), disk.measure())
  const keeper = startKeeper({
    ...{ disk: { ...disk, measure }, log: createLogger({ level: 'silent' }), interval: 5, patience: 600_000 },
    onFindings: () => undefined,
  })
  await expect.poll(() => looks).toBeGreaterThan(5)
  await keeper.stop()
  expect([...new Set(removed)]).toEqual(expected)
})
