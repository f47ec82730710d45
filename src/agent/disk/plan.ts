import type { FileSystemUse, Marks } from '../../api/disk.ts'

/** What a node holds that may be given up, as far as planning needs it. */
export interface Holdings {
  /** Bytes of build cache that is not shared with images: what BuildKit's own limits count. */
  readonly cacheBytes: number
  /** Of those, bytes that nothing uses. */
  readonly unusedCacheBytes: number
  /** Bytes of the unused cache that a normal prune leaves: frontends and BuildKit's own. */
  readonly stickyCacheBytes: number
  /** Leases of daemons that are gone. */
  readonly leaked: number
  /** Paths in the temporary directory that no build uses any more. */
  readonly temporary: readonly string[]
  /** Built images whose names went to newer ones, that nothing uses, oldest first. */
  readonly untagged: readonly string[]
  /** Images that insitu built, that nothing uses and nothing protects, oldest first. */
  readonly images: readonly string[]
  /** While builds run, images stay: a FROM may be about to name one. */
  readonly runningBuilds: number
  /** No daemon runs that could remove cache. */
  readonly alone: boolean
}

/** Steps are done in their order, each once and only while there still is a need. */
export type Step =
  | { readonly do: 'leaked' }
  | { readonly do: 'temporary'; readonly paths: readonly string[] }
  /** Remove unused cache, least recently used first, until so many bytes are left. `all`: also what BuildKit prefers to keep. */
  | { readonly do: 'cache'; readonly keepBytes: number; readonly all: boolean }
  | { readonly do: 'untagged'; readonly names: readonly string[] }
  | { readonly do: 'images'; readonly names: readonly string[] }

/** What is to be freed on one file system to get below its low marks. */
export interface Need {
  readonly holds: readonly string[]
  readonly bytes: number
  /** Inodes, and as a share of those that are used. */
  readonly inodes: number
  readonly inodeShare: number
}

/**
 * What has to be freed now. Hysteresis: it begins at a high mark and goes on until the low one.
 * @param reclaiming whether an earlier look began it and it has not been reached yet.
 */
export function needs(fileSystems: readonly FileSystemUse[], reclaiming: boolean): Need[] {
  return fileSystems.flatMap(({ holds, bytes, inodes, limits }) => {
    const over = (used: number, marks: Marks): number =>
      used >= (reclaiming ? marks.low : marks.high) ? Math.max(1, used - marks.low) : 0
    const need = { bytes: over(bytes.used, limits.bytes), inodes: over(inodes.used, limits.inodes) }
    // One file system that is over either mark is brought below the low marks of both.
    if (need.bytes === 0 && need.inodes === 0) return []
    return [{ holds, ...need, inodeShare: inodes.used === 0 ? 0 : need.inodes / inodes.used }]
  })
}

/** Whether a build that starts now would push the node over the kubelet's thresholds. */
export const atLimit = (fileSystems: readonly FileSystemUse[]): readonly FileSystemUse[] =>
  fileSystems.filter(
    ({ bytes, inodes, limits }) => bytes.used >= limits.bytes.limit || inodes.used >= limits.inodes.limit,
  )

/**
 * BuildKit counts bytes, not inodes: where inodes are short at least this share of the unused cache goes in one step,
 * and the next look says whether it was enough.
 */
const leastInodeShare = 0.1

/** What to remove, first to last: what nobody can want, old temporary files, images without a name, unused cache, images that nothing protects. */
export function planReclaim(need: readonly Need[], holdings: Holdings): Step[] {
  if (need.length === 0) return []
  const stored = need.find(({ holds }) => holds.includes('containerd'))
  const steps: Step[] = []
  if (holdings.leaked > 0 && stored) steps.push({ do: 'leaked' })
  if (holdings.temporary.length > 0) steps.push({ do: 'temporary', paths: holdings.temporary })
  if (!stored) return steps
  // BuildKit counts cache that is part of an image as shared and keeps it: these go before.
  if (holdings.untagged.length > 0) steps.push({ do: 'untagged', names: holdings.untagged })
  // Cache goes before images, when there is a daemon again.
  if (holdings.alone) return steps
  const cut = Math.max(
    stored.bytes,
    stored.inodes > 0 ? Math.max(stored.inodeShare, leastInodeShare) * holdings.unusedCacheBytes : 0,
  )
  // 0 would mean "no limit" to BuildKit.
  const keepBytes = Math.max(1, Math.floor(holdings.cacheBytes - cut))
  if (holdings.unusedCacheBytes - holdings.stickyCacheBytes > 0) steps.push({ do: 'cache', keepBytes, all: false })
  if (holdings.images.length > 0 && holdings.runningBuilds === 0) steps.push({ do: 'images', names: holdings.images })
  if (holdings.unusedCacheBytes > 0) steps.push({ do: 'cache', keepBytes, all: true })
  return steps
}

/**
 * Milliseconds until the next try. Reading the books of a full node takes a while, so tries that remove nothing become
 * rarer; but what a running build holds is free as soon as it ends, so they do so step by step.
 * @param pause that came before this try; 0 after one that removed something.
 */
export const nextPause = (pause: number, removed: number, interval: number, patience: number): number =>
  removed > 0 ? 0 : Math.min(patience, Math.max(interval, 2 * pause))
