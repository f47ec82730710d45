import { cacheKinds, type PruneRequest } from '../../api/disk.ts'
import { type Books, imagesInUse, isPinned, leakedLeases, repositoryOf } from './account.ts'
import type { CachePrune, CacheRecord } from './cache.ts'
import type { StoredImage, StoredLease } from './reach.ts'

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
 * Decides what a request removes. Images go only when they are asked for, when insitu built them, and when nothing
 * runs or protects them; cache only when no build uses it.
 */
export function select(books: Books, request: PruneRequest): Selection {
  const wanted = new Set<string>(request.kinds ?? (request.repositories ? [] : ['cache', 'temporary', 'leaked']))
  const cache = cacheRequest(request, wanted)
  return {
    cache,
    records: cache ? predicted(books.records, cache, books.now) : [],
    images: wanted.has('image') || request.repositories ? images(books, request) : [],
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

function images(books: Books, { repositories, unusedFor }: PruneRequest): StoredImage[] {
  return removableImages(books).filter(
    (image) =>
      (repositories === undefined || repositories.includes(repositoryOf(image.name))) &&
      (unusedFor === undefined || image.updatedAt <= books.now - unusedFor),
  )
}

/** Built here, run by nothing, protected by nothing; oldest first. */
export function removableImages(books: Books): StoredImage[] {
  const used = imagesInUse(books)
  return books.stored.images
    .filter((image) => books.built.has(image.name) && !isPinned(image) && !used.has(image.digest))
    .toSorted((a, b) => a.updatedAt - b.updatedAt)
}
