/** Contracts about the disk of a node: what `agentPaths.usage` and `agentPaths.prune` say, what the CLI prints. */

/** Kinds of build cache, in BuildKit's words (client.UsageRecordType). */
export const cacheKinds = [
  'regular',
  'source.local',
  'source.git.checkout',
  'exec.cachemount',
  'frontend',
  'internal',
] as const
export type CacheKind = (typeof cacheKinds)[number]

/**
 * Everything that can be named in `kind=`: a kind of build cache, all of it, built images whose name went to a newer
 * one, images, files of dead daemons.
 */
export const pruneKinds = [...cacheKinds, 'cache', 'untagged', 'image', 'temporary', 'leaked'] as const
export type PruneKind = (typeof pruneKinds)[number]

/** A file system that holds something of ours, as statfs sees it. Used is what is not available: reserved blocks count. */
export interface FileSystemUse {
  /** What of ours lies on it: `containerd`, `buildkit`, `temporary`. */
  readonly holds: readonly string[]
  readonly path: string
  readonly bytes: { readonly total: number; readonly used: number }
  /** `total` is 0 on file systems without a fixed number of inodes. */
  readonly inodes: { readonly total: number; readonly used: number }
  readonly limits: FileSystemLimits
}

/** Used bytes and inodes: from `high` on things are removed until it is below `low`; at `limit` no build starts. */
export interface FileSystemLimits {
  readonly bytes: Marks
  readonly inodes: Marks
}

export interface Marks {
  readonly low: number
  readonly high: number
  readonly limit: number
}

export interface CacheUse {
  readonly kind: CacheKind
  readonly records: number
  /** As BuildKit counts: a record's own snapshot and blobs. */
  readonly bytes: number
  /** Of those, what builds use at this moment. */
  readonly inUse: number
}

export interface RepositoryUse {
  /** `docker.io/team/app`; `<untagged>` for images whose names went to newer ones. */
  readonly repository: string
  readonly images: number
  /** All snapshots and blobs that its images need. */
  readonly bytes: number
  /** What no other repository, no build cache and no container needs: removing the images frees it. */
  readonly unique: number
  /** How many of the images insitu built, are protected from removal, and are run by containers. */
  readonly built: number
  readonly pinned: number
  readonly inUse: number
}

/** `GET /v1/usage`: who holds what on a node. */
export interface NodeUsage {
  readonly version: 1
  readonly node: string
  readonly fileSystems: readonly FileSystemUse[]
  readonly cache: readonly CacheUse[]
  /** What a prune of all unused build cache would free: less than its bytes where images hold the same data. */
  readonly reclaimable: number
  readonly images: readonly RepositoryUse[]
  readonly temporary: { readonly entries: number; readonly bytes: number; readonly inodes: number }
  /** Held for daemons that are gone. */
  readonly leaked: { readonly leases: number; readonly bytes: number }
  readonly runningBuilds: number
}

/** Body of `POST /v1/prune`. Without kinds and repositories: unused build cache, untagged images, old temporary files, what leaked. */
export interface PruneRequest {
  readonly kinds?: readonly PruneKind[]
  /** Only images of these repositories; then of the other kinds only those that `kinds` names. */
  readonly repositories?: readonly string[]
  /** Milliseconds: only what was not used for so long. */
  readonly unusedFor?: number
  /** So many bytes of build cache stay. */
  readonly keepBytes?: number
  /** Also cache that BuildKit keeps by itself: frontends, its own, and what images share. */
  readonly all?: boolean
  readonly dryRun?: boolean
}

/** One line of the answer (JSON lines): any number of removed things, then `done` or `error`. */
export type PruneProgress =
  | {
      readonly removed: PruneKind
      /** The id of a cache record, the name of an image, a path, the id of a lease. */
      readonly id: string
      /** Of this thing by itself; what it shares with others is not freed. */
      readonly bytes: number
    }
  | {
      readonly done: true
      readonly dryRun: boolean
      readonly removed: number
      /**
       * Bytes and inodes that were freed as statfs measured it (others write meanwhile); of a dry run: of the snapshots
       * and blobs that nothing else holds.
       */
      readonly freed: { readonly bytes: number; readonly inodes: number }
    }
  | { readonly error: string }
