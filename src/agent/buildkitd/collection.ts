import type { FileSystemUse } from '../../api/disk.ts'
import type { TomlTable } from '../../kernel/config/toml.ts'

/** buildkitd's own garbage collection, as it is to be where the user's file says nothing about it. */
export interface Collection {
  /** Bytes of unshared cache. */
  readonly maxUsedSpace: number
  /** Bytes that stay free; undefined: buildkitd would look at another file system than the one that its cache is on. */
  readonly minFreeSpace: number | undefined
}

/** Keys of [worker.containerd] by which a user takes the collection into his own hands. */
const own = ['gc', 'gckeepstorage', 'reservedSpace', 'maxUsedSpace', 'minFreeSpace', 'gcpolicy']

/**
 * The limits that agree with the node's budget: buildkitd collects after builds, before the agent has to. It measures
 * the file system of its root, where the cache only is when containerd's root is there too.
 * @param maxCacheBytes what was configured; undefined: the cache may fill the budget.
 */
export function collectionFor(
  fileSystems: readonly FileSystemUse[],
  maxCacheBytes: number | undefined,
): Collection | undefined {
  const stored = fileSystems.find(({ holds }) => holds.includes('containerd'))
  if (!stored) return undefined
  const { total } = stored.bytes
  const { high } = stored.limits.bytes
  return {
    // BuildKit removes a record at each collection when only a minimum of free space is given, even if it is met.
    maxUsedSpace: Math.min(maxCacheBytes ?? high, high),
    minFreeSpace: stored.holds.includes('buildkit') ? total - high : undefined,
  }
}

/** The keys for [worker.containerd]; none when the user set one of them. Numbers are texts: see `normalise` in render.ts. */
export function collectionKeys(user: TomlTable, collection: Collection | undefined): Readonly<Record<string, string>> {
  if (!collection || own.some((key) => user[key] !== undefined)) return {}
  const { maxUsedSpace, minFreeSpace } = collection
  return {
    maxUsedSpace: String(maxUsedSpace),
    ...(minFreeSpace === undefined ? {} : { minFreeSpace: String(minFreeSpace) }),
  }
}
