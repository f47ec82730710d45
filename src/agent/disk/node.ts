import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { DiskConfig } from '../../api/agent-config.ts'
import type { FileSystemUse, NodeUsage } from '../../api/disk.ts'
import { collectionLease } from '../clean/leases.ts'
import { holdLease } from '../images/holds.ts'
import { containerdCall } from '../host/containerd-call.ts'
import { fieldOf, messages, string } from '../../kernel/grpc/wire.ts'
import { grpcStatus, InsituError } from '../../kernel/errors.ts'
import { type Books, cacheByKind, freedBy, leakedLeases, repositories } from './account.ts'
import { type BuildCache, buildCache } from './cache.ts'
import { knownRecords } from './leaks.ts'
import type { KubeletThresholds } from './limits.ts'
import { measureFileSystems } from './measure.ts'
import { ownedSince } from './ownership.ts'
import type { StoredImage } from './reach.ts'
import { type ContainerdPlace, readImage, readStored } from './stored.ts'
import { temporaryEntries, type TemporaryEntry } from './temporary.ts'

/** Where the things of a node are. */
export interface DiskPlace extends ContainerdPlace {
  readonly node: string
  /** containerd's root. */
  readonly containerdRoot: string
  /** buildkitd's root, its temporary directory and its unix socket. */
  readonly root: string
  readonly tmpdir: string
  readonly socket: string
}

export interface DiskOptions {
  readonly place: DiskPlace
  readonly config: DiskConfig
  readonly kubelet: KubeletThresholds
  /** Names of the images that insitu built. */
  readonly built: () => ReadonlySet<string> | Promise<ReadonlySet<string>>
  /** No daemon runs, and nobody else starts one. Default: one runs. */
  readonly alone?: () => boolean
  /** Milliseconds since 1970. */
  readonly now?: () => number
}

/** The disk of a node: questions and single steps. Nothing is kept between two calls. */
export interface NodeDisk {
  readonly cache: BuildCache
  /** No daemon runs that could be asked for its records and builds. */
  alone(): boolean
  measure(): Promise<FileSystemUse[]>
  /** @param alone that no daemon ran before: if so still, the databases say all that there is. Default false. */
  books(alone?: boolean): Promise<Books>
  temporary(): Promise<TemporaryEntry[]>
  usage(): Promise<NodeUsage>
  /**
   * Removes names from containerd and returns when the data that nothing else holds is gone. A name that was written
   * since it was read stays: it is that of a newer build.
   * @returns the names that went.
   */
  removeImages(images: readonly StoredImage[]): Promise<ReadonlySet<string>>
  removeLease(id: string, wait: boolean): Promise<void>
}

/** A collection may have gigabytes to delete. Milliseconds. */
const collection = 10 * 60_000
/** So often, and every so many milliseconds, it is looked whether removed names are still guarded: 10 s in all. */
const [holdTries, holdPause] = [50, 200]

export function nodeDisk(options: DiskOptions): NodeDisk {
  const { place } = options
  const now = options.now ?? Date.now
  const cache = buildCache(place.socket)
  const call = containerdCall(place.address, place.namespace)
  const orMissing = async (work: Promise<Uint8Array>): Promise<Uint8Array | undefined> => {
    try {
      return await work
    } catch (error) {
      if (error instanceof InsituError && grpcStatus[error.status] === grpcStatus.NOT_FOUND) return undefined
      throw error
    }
  }
  const removeLease = async (id: string, wait: boolean): Promise<void> => {
    const request = wait ? Buffer.concat([fieldOf(1, id), fieldOf(2, 1)]) : fieldOf(1, id)
    await orMissing(call('leases.v1.Leases/Delete', request, collection))
  }
  /** containerd 2 compares the digest itself, in one transaction; older ones do not know the field. */
  const removeImage = async ({ name, digest, updatedAt }: StoredImage): Promise<boolean> => {
    const answer = await orMissing(call('images.v1.Images/Get', fieldOf(1, name)))
    const [image] = answer ? messages(answer, 1).map(readImage) : []
    if (!image || image.digest !== digest || image.updatedAt !== updatedAt) return false
    const request = Buffer.concat([fieldOf(1, name), fieldOf(3, fieldOf(2, digest))])
    return (await orMissing(call('images.v1.Images/Delete', request, collection))) !== undefined
  }
  /** The part that guards names lets go of their content when it has seen that they are gone. */
  const isHeld = async (digests: ReadonlySet<string>): Promise<boolean> => {
    const held = await call('leases.v1.Leases/ListResources', fieldOf(1, holdLease)).catch(() => undefined)
    return held !== undefined && messages(held, 1).some((resource) => digests.has(string(resource, 1)))
  }
  /** Only the deletion of a lease can ask containerd to collect at once. */
  const collect = async (): Promise<void> => {
    const id = `${collectionLease}${randomBytes(6).toString('hex')}`
    await call('leases.v1.Leases/Create', fieldOf(1, id))
    await removeLease(id, true)
  }
  const disk: NodeDisk = {
    cache,
    alone: () => options.alone?.() ?? false,
    measure: () =>
      measureFileSystems(
        [
          { holds: 'containerd', path: place.containerdRoot },
          { holds: 'buildkit', path: place.root },
          { holds: 'temporary', path: place.tmpdir },
        ],
        options.kubelet,
        options.config,
      ),
    async books(alone = false) {
      // The daemon is asked last: a record that is made meanwhile is then known, a lease never older than its record.
      const stored = await readStored(place)
      const known = await knownRecords(place.root)
      const since = await ownedSince(place.root, now())
      const records = alone && disk.alone() ? [] : await cache.records()
      return { stored, known, since, records, snapshotter: place.snapshotter, built: await options.built(), now: now() }
    },
    temporary: () => temporaryEntries(place, now()),
    async usage() {
      const [books, fileSystems, temporary, runningBuilds] = await Promise.all([
        disk.books(),
        disk.measure(),
        disk.temporary(),
        cache.runningBuilds(),
      ])
      const leaked = leakedLeases(books)
      const unused = new Set(books.records.filter((record) => !record.inUse).map((record) => record.id))
      const leases = new Set(leaked.map((lease) => lease.id))
      return {
        version: 1,
        node: place.node,
        fileSystems,
        cache: cacheByKind(books.records),
        reclaimable: freedBy(books, { records: unused, images: new Set(), leases: new Set() }).bytes,
        images: repositories(books),
        temporary: {
          entries: temporary.length,
          bytes: temporary.reduce((sum, entry) => sum + entry.bytes, 0),
          inodes: temporary.reduce((sum, entry) => sum + entry.inodes, 0),
        },
        leaked: {
          leases: leaked.length,
          bytes: freedBy(books, { records: new Set(), images: new Set(), leases }).bytes,
        },
        runningBuilds,
      }
    },
    async removeImages(images) {
      const removed: StoredImage[] = []
      for (const image of images) if (await removeImage(image)) removed.push(image)
      const digests = new Set(removed.map((image) => image.digest))
      for (let tries = 0; tries < holdTries && (await isHeld(digests)); tries++) await sleep(holdPause)
      if (removed.length > 0) await collect()
      return new Set(removed.map((image) => image.name))
    },
    removeLease,
  }
  return disk
}
