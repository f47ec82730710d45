import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describeError, grpcStatus, InsituError } from '../../kernel/errors.ts'
import { type GrpcConnection, grpcConnection } from '../../kernel/grpc/connection.ts'
import { fieldOf, messages, string, stringMap } from '../../kernel/grpc/wire.ts'
import type { Logger } from '../../kernel/log.ts'
import { bucketKeys } from '../buildkitd/bolt.ts'
import { isRecordLease, isTemporaryLease, recordOf } from '../clean/leases.ts'
import { ownedSince } from './ownership.ts'
import { timestamp } from './stored.ts'

export interface LeakOptions {
  /** containerd's socket. */
  readonly address: string
  readonly namespace: string
  /** buildkitd's root. */
  readonly root: string
  readonly log: Logger
  /** Milliseconds since 1970. */
  readonly now?: () => number
}

/** What was ended. */
export interface EndedLeaks {
  /** Leases of cache records and of finished builds that no database knows, and of calls that were cut off. */
  readonly leases: readonly string[]
  /** Half-written blobs of those calls. */
  readonly ingests: readonly string[]
}

const patience = 30_000
/** The last deletion waits until containerd has collected what was held. */
const collection = 10 * 60_000

/**
 * Ends what daemons that are gone still hold in containerd: BuildKit keeps each cache record and each finished build
 * by a lease and forgets it when its database was set aside or its process was killed between two writes. Only while
 * no daemon runs and we hold the lock: then what the databases do not know belongs to nobody.
 * What cannot be ended is logged and tried again before the next daemon.
 */
export async function endLeaks(options: LeakOptions): Promise<EndedLeaks> {
  const { address, namespace, root, log } = options
  const connection = grpcConnection(address)
  const leases: string[] = []
  const ingests: string[] = []
  try {
    const since = await ownedSince(root, (options.now ?? Date.now)())
    const cache = namespaceOf(connection, namespace)
    const records = await knownRecords(root)
    const orphans: string[] = []
    for (const lease of await cache.leases()) {
      if (lease.createdAt < since) continue
      if (isTemporaryLease(lease)) {
        for (const ref of await cache.ingestsOf(lease.id)) {
          await cache.abort(ref)
          ingests.push(ref)
        }
        orphans.push(lease.id)
      } else if (isRecordLease(lease) && records && !records.has(recordOf(lease))) orphans.push(lease.id)
    }
    const history = namespaceOf(connection, `${namespace}_history`)
    const builds = await bucketKeys(join(root, 'history.db'), '_records')
    const finished = (await history.leases()).filter(
      ({ id, createdAt }) => builds && id.startsWith('ref_') && !builds.has(id.slice(4)) && createdAt >= since,
    )
    for (const { id } of finished) await history.end(id, false)
    for (const [i, id] of orphans.entries()) await cache.end(id, i === orphans.length - 1)
    leases.push(...finished.map((lease) => lease.id), ...orphans)
    if (leases.length > 0)
      log.info({ leases: leases.length, ingests: ingests.length }, 'ended what daemons that are gone held')
  } catch (error) {
    log.warn({ err: describeError(error) }, 'what daemons that are gone hold could not be ended')
  } finally {
    connection.close()
  }
  return { leases, ingests }
}

/** Ids of the cache records of every worker below the root; undefined when a database cannot be read. */
export async function knownRecords(root: string): Promise<ReadonlySet<string> | undefined> {
  const known = new Set<string>()
  for (const name of await readdir(root).catch(() => [])) {
    if (!name.startsWith('containerd-')) continue
    const keys = await bucketKeys(join(root, name, 'metadata_v2.db'), '_main')
    if (!keys) return undefined
    for (const key of keys) known.add(key)
  }
  return known
}

/** Field numbers: containerd, api/services/leases/v1/leases.proto and content/v1/content.proto. */
function namespaceOf(connection: GrpcConnection, namespace: string) {
  const call = (method: string, request: Uint8Array = new Uint8Array(), timeout = patience): Promise<Uint8Array> =>
    connection.unary({
      method: `/containerd.services.${method}`,
      metadata: { 'containerd-namespace': namespace },
      request,
      timeout,
    })
  return {
    leases: async () =>
      messages(await call('leases.v1.Leases/List'), 1).map((lease) => ({
        id: string(lease, 1),
        createdAt: timestamp(messages(lease, 2)[0]),
        labels: stringMap(lease, 3),
      })),
    ingestsOf: async (lease: string) =>
      messages(await call('leases.v1.Leases/ListResources', fieldOf(1, lease)), 1)
        .filter((resource) => string(resource, 2) === 'ingests')
        .map((resource) => string(resource, 1)),
    abort: (ref: string) => missingIsFine(call('content.v1.Content/Abort', fieldOf(1, ref))),
    end: (id: string, wait: boolean) =>
      missingIsFine(
        call(
          'leases.v1.Leases/Delete',
          wait ? Buffer.concat([fieldOf(1, id), fieldOf(2, 1)]) : fieldOf(1, id),
          wait ? collection : patience,
        ),
      ),
  }
}

async function missingIsFine(work: Promise<unknown>): Promise<void> {
  try {
    await work
  } catch (error) {
    if (!(error instanceof InsituError && grpcStatus[error.status] === grpcStatus.NOT_FOUND)) throw error
  }
}
