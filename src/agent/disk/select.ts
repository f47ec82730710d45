import { cacheKinds, type PruneRequest } from '../../api/disk.ts'
import { type Books, leakedLeases } from './account.ts'
import type { CachePrune, CacheRecord } from './cache.ts'
import { namesToRemove, removableImages, repositoryOf } from './images.ts'
import { reach, rootOfImage, rootsOfLease, type StoredImage, type StoredLease } from './reach.ts'

/** What a request for pruning removes on this node. */
export interface Selection {
  /** For BuildKit; undefined: no cache is removed. */
  readonly cache: CachePrune | undefined
  /** The records that BuildKit will take, as far as that can be told before. */
  readonly records: readonly CacheRecord[]
  readonly images: readonly StoredImage[]
  readonly leases: readonly StoredLease[]
  readonly temporary: boolean
}

/**
 * Decides what a request removes. Images that have a name go only when they are asked for; all only when insitu built
 * them and nothing runs or protects them; cache only when no build uses it.
 */
export function select(books: Books, request: PruneRequest): Selection {
  const wanted = new Set<string>(
    request.kinds ?? (request.repositories ? [] : ['cache', 'untagged', 'temporary', 'leaked']),
  )
  const cache = cacheRequest(request, wanted)
  const going = images(books, request, wanted)
  return {
    cache,
    records: cache ? predicted(unshared(books, going), cache, books.now) : [],
    images: going,
    leases: wanted.has('leaked') ? leakedLeases(books) : [],
    temporary: wanted.has('temporary'),
  }
}

function cacheRequest(request: PruneRequest, wanted: ReadonlySet<string>): CachePrune | undefined {
  const kinds = cacheKinds.filter((kind) => wanted.has(kind))
  if (kinds.length === 0 && !wanted.has('cache')) return undefined
  return {
    ...(wanted.has('cache') ? {} : { filters: kinds.map((kind) => `type==${kind}`) }),
    // Who names them wants them to go.
    all: request.all === true || kinds.includes('frontend') || kinds.includes('internal'),
    ...(request.unusedFor === undefined ? {} : { unusedFor: request.unusedFor }),
    ...(request.keepBytes === undefined ? {} : { keepBytes: Math.max(1, request.keepBytes) }),
  }
}

/** Records from the leaves up: one that a record which stays is made of stays too. */
function predicted(records: readonly CacheRecord[], prune: CachePrune, now: number): CacheRecord[] {
  const kinds = prune.filters?.map((filter) => filter.replace(/^type==/, ''))
  const matches = (record: CacheRecord): boolean =>
    !record.inUse &&
    (kinds === undefined || kinds.includes(record.kind)) &&
    (prune.all === true || !(record.shared || record.kind === 'internal' || record.kind === 'frontend')) &&
    (prune.unusedFor === undefined || record.lastUsedAt <= now - prune.unusedFor)
  const children = new Map<string, number>()
  for (const { parents } of records) for (const id of parents) children.set(id, (children.get(id) ?? 0) + 1)
  const byId = new Map(records.map((record) => [record.id, record]))
  let left = records.reduce((sum, record) => sum + (record.shared ? 0 : record.bytes), 0)
  const gone: CacheRecord[] = []
  const candidates = records.filter(matches).toSorted((a, b) => a.lastUsedAt - b.lastUsedAt)
  const ready = candidates.filter((record) => !children.get(record.id))
  const allowed = new Set(candidates.map((record) => record.id))
  while (prune.keepBytes === undefined || left >= prune.keepBytes) {
    const record = ready.shift()
    if (!record) break
    gone.push(record)
    left -= record.bytes
    for (const id of record.parents) {
      const rest = (children.get(id) ?? 1) - 1
      children.set(id, rest)
      const parent = byId.get(id)
      if (rest === 0 && parent && allowed.has(id)) insert(ready, parent)
    }
  }
  return gone
}

function insert(sorted: CacheRecord[], record: CacheRecord): void {
  const at = sorted.findIndex((other) => other.lastUsedAt > record.lastUsedAt)
  sorted.splice(at < 0 ? sorted.length : at, 0, record)
}

function images(books: Books, request: PruneRequest, wanted: ReadonlySet<string>): StoredImage[] {
  const { named, untagged } = removableImages(books.stored, books.snapshotter, books.built)
  const { repositories, unusedFor } = request
  const asked = named.filter(({ name }) => repositories?.includes(repositoryOf(name)) ?? wanted.has('image'))
  return [...(wanted.has('untagged') ? untagged : []), ...asked].filter(
    (image) => unusedFor === undefined || image.updatedAt <= books.now - unusedFor,
  )
}

/** BuildKit leaves alone what images share; what only images share that go is not shared any more. */
function unshared(books: Books, gone: readonly StoredImage[]): CacheRecord[] {
  if (gone.length === 0) return [...books.records]
  const { stored, snapshotter } = books
  const names = new Set(namesToRemove(stored.images, gone))
  const kept = reach(stored, snapshotter, stored.images.filter((image) => !names.has(image.name)).map(rootOfImage))
  const parts = new Map(stored.leases.map((lease) => [lease.id, rootsOfLease(lease, snapshotter)]))
  return books.records.map((record) => ({
    ...record,
    shared: record.shared && (parts.get(record.id) ?? []).some(({ part }) => kept.has(part)),
  }))
}
