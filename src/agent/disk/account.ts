import { type CacheUse, cacheKinds, type RepositoryUse } from '../../api/disk.ts'
import { isBuildkitLease, isRecordLease, isTemporaryLease, recordOf } from '../clean/leases.ts'
import { holdLease } from '../images/holds.ts'
import type { CacheRecord } from './cache.ts'
import { imagesInUse, isPinned, properImages, repositoryNames } from './images.ts'
import {
  amount,
  type Part,
  reach,
  type Root,
  rootOfImage,
  rootsOfContainer,
  rootsOfLease,
  selfRooted,
  type Stored,
  type StoredLease,
} from './reach.ts'

/** Everything that the accounts of a node are made of. */
export interface Books {
  readonly stored: Stored
  readonly snapshotter: string
  readonly records: readonly CacheRecord[]
  /** Ids that the daemon's database knows; undefined: it could not be read, so nothing counts as leaked. */
  readonly known: ReadonlySet<string> | undefined
  /** Older leases may be somebody else's. Milliseconds since 1970. */
  readonly since: number
  /** Names of the images that insitu built. */
  readonly built: ReadonlySet<string>
  /** Milliseconds since 1970. */
  readonly now: number
}

/** A lease is older than its record by a moment: younger ones are not judged. */
const youth = 60 * 60_000

/**
 * Leases that a daemon made for records that no database knows: of a cache that was set aside, of a daemon that was
 * killed between two writes. Nobody would ever remove them.
 */
export function leakedLeases({ stored, known, records, since, now }: Books): StoredLease[] {
  if (!known) return []
  const listed = new Set(records.map((record) => record.id))
  return stored.leases.filter(
    (lease) =>
      isRecordLease(lease) &&
      !isTemporaryLease(lease) &&
      !known.has(recordOf(lease)) &&
      !listed.has(recordOf(lease)) &&
      lease.createdAt >= since &&
      lease.createdAt <= now - youth,
  )
}

/** Our own lease behind the names of images follows the names: it holds nothing by itself. */
const independent = (stored: Stored): readonly StoredLease[] => stored.leases.filter(({ id }) => id !== holdLease)

/** What each thing that holds something keeps, by group. */
function groups(books: Books): Map<string, Set<Part>> {
  const { stored, snapshotter } = books
  const leaked = new Set(leakedLeases(books))
  const repository = repositoryNames(stored.images)
  const roots = new Map<string, Root[]>()
  const add = (group: string, some: readonly Root[]): void => {
    const list = roots.get(group)
    if (list) list.push(...some)
    else roots.set(group, [...some])
  }
  for (const image of stored.images) add(`image ${repository(image)}`, [rootOfImage(image)])
  for (const lease of independent(stored)) {
    const own = isBuildkitLease(lease)
    add(leaked.has(lease) ? 'leaked' : own ? 'cache' : 'other', rootsOfLease(lease, snapshotter))
  }
  for (const container of stored.containers) add('container', rootsOfContainer(container, snapshotter))
  add('other', [...selfRooted(stored)])
  return new Map([...roots].map(([group, some]) => [group, reach(stored, snapshotter, some)]))
}

/** What the images of each repository hold, largest first. */
export function repositories(books: Books): RepositoryUse[] {
  const { stored, built } = books
  const held = groups(books)
  const holders = new Map<Part, number>()
  for (const parts of held.values()) for (const part of parts) holders.set(part, (holders.get(part) ?? 0) + 1)
  const used = imagesInUse(stored, books.snapshotter)
  const of = Map.groupBy(properImages(stored.images), repositoryNames(stored.images))
  return [...of]
    .map(([repository, images]) => {
      const parts = held.get(`image ${repository}`) ?? new Set<Part>()
      const own = [...parts].filter((part) => holders.get(part) === 1)
      return {
        repository,
        images: images.length,
        bytes: amount(stored, parts).bytes,
        unique: amount(stored, own).bytes,
        built: images.filter((image) => built.has(image.name)).length,
        pinned: images.filter(isPinned).length,
        inUse: images.filter((image) => used.has(image.digest)).length,
      }
    })
    .toSorted((a, b) => b.bytes - a.bytes || a.repository.localeCompare(b.repository))
}

/** The build cache by kind, as BuildKit counts. */
export function cacheByKind(records: readonly CacheRecord[]): CacheUse[] {
  return cacheKinds.flatMap((kind) => {
    const some = records.filter((record) => record.kind === kind)
    if (some.length === 0) return []
    const bytes = (list: readonly CacheRecord[]): number => list.reduce((sum, record) => sum + record.bytes, 0)
    return [{ kind, records: some.length, bytes: bytes(some), inUse: bytes(some.filter((record) => record.inUse)) }]
  })
}

/** What would go. */
export interface Removal {
  readonly records: ReadonlySet<string>
  readonly images: ReadonlySet<string>
  readonly leases: ReadonlySet<string>
}

/** Bytes and inodes that containerd's collector would free: of what nothing else holds. */
export function freedBy(
  { stored, snapshotter }: Books,
  { records, images, leases }: Removal,
): { bytes: number; inodes: number } {
  const roots = function* (without: boolean): Generator<Root> {
    for (const image of stored.images) if (!without || !images.has(image.name)) yield rootOfImage(image)
    for (const lease of independent(stored)) {
      const goes = leases.has(lease.id) || (isRecordLease(lease) && records.has(recordOf(lease)))
      if (!without || !goes) yield* rootsOfLease(lease, snapshotter)
    }
    for (const container of stored.containers) yield* rootsOfContainer(container, snapshotter)
    yield* selfRooted(stored)
  }
  const after = reach(stored, snapshotter, roots(true))
  return amount(
    stored,
    [...reach(stored, snapshotter, roots(false))].filter((part) => !after.has(part)),
  )
}
