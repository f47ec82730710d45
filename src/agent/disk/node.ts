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
import { type ContainerdPlace, readStored } from './stored.ts'
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
  /** Removes names from containerd and returns when the data that nothing else holds is gone. */
  removeImages(images: readonly StoredImage[]): Promise<void>
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
  const remove = async (method: string, id: string, wait: boolean): Promise<void> => {
    const request = wait ? Buffer.concat([fieldOf(1, id), fieldOf(2, 1)]) : fieldOf(1, id)
    try {
      await call(method, request, collection)
    } catch (error) {
      if (!(error instanceof InsituError && grpcStatus[error.status] === grpcStatus.NOT_FOUND)) throw error
    }
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
    await remove('leases.v1.Leases/Delete', id, true)
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
      for (const { name } of images) await remove('images.v1.Images/Delete', name, false)
      const digests = new Set(images.map((image) => image.digest))
      for (let tries = 0; tries < holdTries && (await isHeld(digests)); tries++) await sleep(holdPause)
      if (images.length > 0) await collect()
    },
    removeLease: (id, wait) => remove('leases.v1.Leases/Delete', id, wait),
  }
  return disk
}
