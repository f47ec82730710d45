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

/** A node that could build, with what does not change from build to build. */
export interface Candidate {
  readonly node: string
  /** Requested platforms that run natively there. */
  readonly native: number
  /** `hash` of its name. */
  readonly hash: number
}

/** Candidates of one build, in the order of preference. */
export interface Ranking {
  readonly first: Score | undefined
  /** All of them, best first. */
  all(): Score[]
}

/**
 * Orders candidates, best first: natives, then the node whose cache is warm for the key, unless it has clearly more
 * builds than the others ("consistent hashing with bounded loads"): a queue costs more than a cold cache.
 * @param view only `running` is asked
 */
export function rank(candidates: readonly Candidate[], cacheKey: string, view: Pick<ClusterView, 'running'>): Ranking {
  const key = hash(cacheKey)
  const score = (c: Candidate): Score => ({
    node: c.node,
    native: c.native,
    cache: cacheWeight(key, c.hash),
    running: view.running(c.node),
  })
  let total = 0
  for (const { node } of candidates) total += view.running(node)
  const bound = Math.max(4, Math.ceil((1.25 * (total + 1)) / candidates.length))
  const compare = (a: Score, b: Score): number => {
    const full = Number(a.running >= bound) - Number(b.running >= bound)
    const bothFull = a.running >= bound && b.running >= bound
    return (
      b.native - a.native ||
      full ||
      (bothFull ? a.running - b.running : 0) ||
      b.cache - a.cache ||
      a.running - b.running ||
      (a.node < b.node ? -1 : 1)
    )
  }
  let first: Score | undefined
  for (const candidate of candidates) {
    const next = score(candidate)
    if (!first || compare(next, first) < 0) first = next
  }
  return { first, all: () => candidates.map(score).sort(compare) }
}
