import type { FileSystemUse, PruneKind, PruneProgress, PruneRequest } from '../../api/disk.ts'
import { freedBy } from './account.ts'
import { namesToRemove, removableImages } from './images.ts'
import type { NodeDisk } from './node.ts'
import type { StoredImage } from './reach.ts'
import { select } from './select.ts'
import { removeTemporary } from './temporary.ts'

/**
 * Removes what a request names, and tells each thing that went. A dry run tells the same and touches nothing.
 * @throws InsituError GRPC_CALL_FAILED when the daemon or containerd does not answer; what was removed until then stays removed.
 */
export async function prune(
  disk: NodeDisk,
  request: PruneRequest,
  onProgress: (line: PruneProgress) => void,
): Promise<void> {
  const books = await disk.books()
  const chosen = select(books, request)
  const stale = chosen.temporary && (await disk.cache.runningBuilds()) === 0
  const temporary = stale ? (await disk.temporary()).filter((entry) => entry.stale) : []
  let removed = 0
  const tell = (kind: PruneKind, id: string, bytes: number): void => {
    removed += 1
    onProgress({ removed: kind, id, bytes })
  }
  if (request.dryRun === true) {
    const freed = freedBy(books, {
      records: new Set(chosen.records.map((record) => record.id)),
      images: new Set(namesToRemove(books.stored.images, chosen.images)),
      leases: new Set(chosen.leases.map((lease) => lease.id)),
    })
    for (const lease of chosen.leases) tell('leaked', lease.id, 0)
    for (const { path, bytes } of temporary) tell('temporary', path, bytes)
    for (const image of chosen.images) tell(kindOf(image.name), image.name, 0)
    for (const record of chosen.records) tell(record.kind, record.id, record.bytes)
    for (const { bytes, inodes } of temporary) {
      freed.bytes += bytes
      freed.inodes += inodes
    }
    onProgress({ done: true, dryRun: true, removed, freed })
    return
  }
  const before = await disk.measure()
  for (const [i, { id }] of chosen.leases.entries()) {
    await disk.removeLease(id, i === chosen.leases.length - 1)
    tell('leaked', id, 0)
  }
  for (const { path, bytes } of temporary) {
    await removeTemporary(path)
    tell('temporary', path, bytes)
  }
  for (const name of await removeImages(disk, chosen.images)) tell(kindOf(name), name, 0)
  if (chosen.cache) {
    const kinds = new Map(books.records.map((record) => [record.id, record.kind]))
    await disk.cache.prune({
      ...chosen.cache,
      onRemoved: ({ id, bytes }) => tell(kinds.get(id) ?? 'regular', id, bytes),
    })
  }
  onProgress({ done: true, dryRun: false, removed, freed: difference(before, await disk.measure()) })
}

/** Removes the chosen images that may still go: what went before took minutes, in which builds ended. @returns their names. */
async function removeImages(disk: NodeDisk, chosen: readonly StoredImage[]): Promise<string[]> {
  if (chosen.length === 0) return []
  const { stored, snapshotter, built } = await disk.books()
  const { untagged, named } = removableImages(stored, snapshotter, built)
  const removable = new Map([...untagged, ...named].map((image) => [image.name, image]))
  const still = chosen.filter(({ name, digest, updatedAt }) => {
    const now = removable.get(name)
    return now?.digest === digest && now.updatedAt === updatedAt
  })
  const names = new Set(namesToRemove(stored.images, still))
  const gone = await disk.removeImages(stored.images.filter((image) => names.has(image.name)))
  return still.flatMap(({ name }) => (gone.has(name) ? [name] : []))
}

const kindOf = (image: string): PruneKind => (image.startsWith('sha256:') ? 'untagged' : 'image')

/** What became free on the file systems together. Negative where others wrote more than was freed. */
export function difference(
  before: readonly FileSystemUse[],
  after: readonly FileSystemUse[],
): {
  bytes: number
  inodes: number
} {
  const sum = (list: readonly FileSystemUse[], what: 'bytes' | 'inodes'): number =>
    list.reduce((total, one) => total + one[what].used, 0)
  return { bytes: sum(before, 'bytes') - sum(after, 'bytes'), inodes: sum(before, 'inodes') - sum(after, 'inodes') }
}
