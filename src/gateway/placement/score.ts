import type { ClusterView, NodeSlot } from './cluster.ts'
import { cacheWeight, hash } from './hash.ts'
import type { Pool } from './pool.ts'

export interface Score {
  readonly node: string
  /** Requested platforms that run natively there. */
  readonly native: number
  /** Rendezvous weight of the build's cache on this node, 0 … 2³² − 1. */
  readonly cache: number
  /** Builds there now. */
  readonly running: number
}

/** What a node is chosen from. */
export interface Field {
  readonly candidates: Iterable<NodeSlot | undefined>
  /** How many of the candidates fit, about. */
  readonly size: number
  /** Whether a candidate counts; cheap. */
  readonly fits: (slot: NodeSlot) => boolean
  /** Asked last, and only of nodes that would be better than the best so far. */
  readonly accepts?: (slot: NodeSlot) => boolean
  /** Small numbers, more is better; comes before everything else. Default 0 for all. */
  readonly prefers?: (slot: NodeSlot) => number
}

/** Candidates of one build, in the order of preference. */
export interface Ranking {
  readonly first: NodeSlot | undefined
  /** All of them, best first. */
  all(): Score[]
}

/**
 * Chooses among candidates: natives, then the node whose cache is warm for the key, unless it has clearly more builds
 * than the others ("consistent hashing with bounded loads"): a queue costs more than a cold cache.
 */
export function rank(
  { busy, table }: Pick<ClusterView, 'busy' | 'table'>,
  { native }: Pick<Pool, 'native'>,
  cacheKey: string,
  { candidates, size, fits, accepts = () => true, prefers }: Field,
): Ranking {
  const key = hash(cacheKey)
  let total = 0
  for (const [name, running] of busy) {
    const slot = table.get(name)
    if (slot && fits(slot)) total += running
  }
  const bound = Math.max(4, Math.ceil((1.25 * (total + 1)) / Math.max(1, size)))
  // One number for the order of preference, so that 5,000 nodes are compared in microseconds.
  const worth = (slot: NodeSlot, running: number): number =>
    ((prefers?.(slot) ?? 0) * 64 + Math.min(63, native(slot))) * 2 ** 43 +
    (running < bound ? 1024 : Math.max(0, 1023 - running)) * 2 ** 32 +
    cacheWeight(key, slot.hash)
  let first: NodeSlot | undefined
  let best = -1
  for (const slot of candidates) {
    // What could not win even if it were idle, which is nearly all, costs a few operations.
    if (!slot || worth(slot, 0) <= best || !fits(slot)) continue
    const value = worth(slot, busy.get(slot.name) ?? 0)
    if (value <= best || !accepts(slot)) continue
    first = slot
    best = value
  }
  const all = (): Score[] =>
    [...candidates]
      .filter((slot) => slot !== undefined)
      .filter((slot) => fits(slot) && accepts(slot))
      .map((slot) => ({ slot, running: busy.get(slot.name) ?? 0 }))
      .sort((a, b) => worth(b.slot, b.running) - worth(a.slot, a.running) || (a.slot.name < b.slot.name ? -1 : 1))
      .map(({ slot, running }) => ({
        node: slot.name,
        native: native(slot),
        cache: cacheWeight(key, slot.hash),
        running,
      }))
  return { first, all }
}
