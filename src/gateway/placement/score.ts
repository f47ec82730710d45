import type { ClusterView } from './cluster.ts'

export interface Score {
  readonly node: string
  /** Requested platforms that run natively there. */
  readonly native: number
  /** Rendezvous weight of the build's cache on this node, 0 … 2³² − 1. */
  readonly cache: number
  /** Builds there now. */
  readonly running: number
}

/**
 * Rendezvous hashing: every gateway replica gives the same node the highest weight for a key, and a node that comes
 * or goes moves only its own keys. (Thaler and Ravishankar, "A Name-Based Mapping Scheme for Rendezvous", 1996.)
 */
export function cacheWeight(keyHash: number, nodeHash: number): number {
  // Finalizer of MurmurHash3 (public domain): spreads the combined bits evenly.
  let h = Math.imul(keyHash ^ nodeHash, 0x85ebca6b)
  h ^= h >>> 13
  h = Math.imul(h, 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/** FNV-1a, 32 bits. */
export function hash(text: string): number {
  let h = 0x811c9dc5
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  return h >>> 0
}

/**
 * Orders candidates, best first: natives, then the node whose cache is warm for the key, unless it has clearly more
 * builds than the others ("consistent hashing with bounded loads"): a queue costs more than a cold cache.
 * @param view only `running` is asked
 */
export function rank(
  candidates: Iterable<{ readonly node: string; readonly native: number }>,
  cacheKey: string,
  view: Pick<ClusterView, 'running'>,
): Score[] {
  const key = hash(cacheKey)
  const scores = Array.from(candidates, ({ node, native }): Score => ({
    node,
    native,
    cache: cacheWeight(key, hash(node)),
    running: view.running(node),
  }))
  const total = scores.reduce((sum, s) => sum + s.running, 0)
  const bound = Math.max(4, Math.ceil((1.25 * (total + 1)) / scores.length))
  const full = (s: Score): number => (s.running >= bound ? 1 : 0)
  return scores.sort(
    (a, b) =>
      b.native - a.native ||
      full(a) - full(b) ||
      (full(a) === 1 ? a.running - b.running : 0) ||
      b.cache - a.cache ||
      a.running - b.running ||
      (a.node < b.node ? -1 : 1),
  )
}
