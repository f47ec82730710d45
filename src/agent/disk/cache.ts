import { type CacheKind, cacheKinds } from '../../api/disk.ts'
import { type GrpcConnection, grpcConnection } from '../../kernel/grpc/connection.ts'
import { fieldOf, integer, messages, string, strings } from '../../kernel/grpc/wire.ts'
import { runningBuilds } from '../drain/running-builds.ts'
import { timestamp } from './stored.ts'

/** A record of the build cache. Sizes are bytes, times milliseconds since 1970 (0: never). */
export interface CacheRecord {
  readonly id: string
  readonly kind: CacheKind
  readonly bytes: number
  readonly inUse: boolean
  /** Some image is made of it: BuildKit leaves it alone unless all is asked for. */
  readonly shared: boolean
  readonly parents: readonly string[]
  readonly createdAt: number
  readonly lastUsedAt: number
}

/** Fields of BuildKit's PruneRequest, v0.33.1. */
export interface CachePrune {
  /** containerd's filters, joined by "or": `type==regular`, `id==…`. */
  readonly filters?: readonly string[]
  readonly all?: boolean
  /** Milliseconds. */
  readonly unusedFor?: number
  /** Least recently used records go until less than this is left; absent: all that match go. */
  readonly keepBytes?: number
  readonly onRemoved?: (record: CacheRecord) => void
}

/** A daemon's cache, over its unix socket. Field numbers: BuildKit v0.33.1, api/services/control/control.proto. */
export interface BuildCache {
  /** @throws InsituError GRPC_CALL_FAILED */
  records(): Promise<CacheRecord[]>
  /** Removes what nothing uses and waits until containerd has collected it. @throws InsituError GRPC_CALL_FAILED */
  prune(options: CachePrune): Promise<void>
  /** How many builds the daemon works on now. */
  runningBuilds(): Promise<number>
}

const control = '/moby.buildkit.v1.Control/'
/** Sizes that are not known yet are counted, and containerd deletes gigabytes. */
const patience = 10 * 60_000

export function buildCache(socket: string): BuildCache {
  const connected = async <T>(work: (connection: GrpcConnection) => Promise<T>): Promise<T> => {
    const connection = grpcConnection(socket)
    try {
      return await work(connection)
    } finally {
      connection.close()
    }
  }
  return {
    records: () =>
      connected(async (connection) => {
        const answer = await connection.unary({ method: `${control}DiskUsage`, timeout: patience })
        return messages(answer, 1).map(readRecord)
      }),
    prune: ({ filters = [], all = false, unusedFor, keepBytes, onRemoved }) =>
      connected((connection) => {
        const request = Buffer.concat([
          ...filters.map((filter) => fieldOf(1, filter)),
          ...(all ? [fieldOf(2, 1)] : []),
          ...(unusedFor === undefined ? [] : [fieldOf(3, unusedFor * 1e6)]),
          ...(keepBytes === undefined ? [] : [fieldOf(5, keepBytes)]),
        ])
        return connection.stream({ method: `${control}Prune`, request, timeout: patience }, (message) =>
          onRemoved?.(readRecord(message)),
        )
      }),
    runningBuilds: () => runningBuilds(socket),
  }
}

function readRecord(bytes: Uint8Array): CacheRecord {
  const kind = string(bytes, 10)
  return {
    id: string(bytes, 1),
    kind: cacheKinds.find((known) => known === kind) ?? 'regular',
    bytes: integer(bytes, 4),
    inUse: integer(bytes, 3) === 1,
    shared: integer(bytes, 11) === 1,
    parents: strings(bytes, 12),
    createdAt: timestamp(messages(bytes, 6)[0]),
    lastUsedAt: timestamp(messages(bytes, 7)[0]),
  }
}
