import type { ClusterView, NodeSlot } from './cluster.ts'
import { cacheWeight, hash } from './hash.ts'
import type { PlacementRequest } from './placer.ts'
import type { Pool, Rank } from './pool.ts'

export interface Score {
  readonly node: string
  /** Requested platforms that run natively there. */
  readonly native: number
  /** Rendezvous weight of the build's cache on this node, 0 … 2³² − 1. */
  readonly cache: number
  /** Builds there now, those that wait for their turn included. */
  readonly running: number
}

/** What a node is chosen from. */
export interface Field {
  /** `welcoming`: all nodes that welcome the build. */
  readonly candidates: Iterable<NodeSlot | undefined> | 'welcoming'
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

type RankedPool = Pick<Pool, 'native' | 'ranks'>

/**
 * Chooses among candidates: natives, then the node whose cache is warm for the key, unless it has clearly more builds
 * than the others ("consistent hashing with bounded loads") or the build would have to wait there for its turn: a queue
 * costs more than a cold cache.
 */
export function rank(
  view: Pick<ClusterView, 'busy' | 'table'>,
  pool: RankedPool,
  { cacheKey, perNode = Infinity }: Pick<PlacementRequest, 'cacheKey' | 'perNode'>,
  field: Field,
): Ranking {
  const { busy, table } = view
  const key = hash(cacheKey)
  let total = 0
  for (const [name, running] of busy) {
    const slot = table.get(name)
    if (slot && field.fits(slot)) total += running
  }
  const bound = Math.min(perNode, Math.max(4, Math.ceil((1.25 * (total + 1)) / Math.max(1, field.size))))
  const running = (slot: NodeSlot): number => busy.get(slot.name) ?? 0
  const { fits, accepts = () => true, prefers } = field
  // One number for the order of preference.
  const worth = (slot: NodeSlot): number =>
    ((prefers?.(slot) ?? 0) * 64 + Math.min(63, pool.native(slot))) * 2 ** 43 +
    (running(slot) < bound ? 1024 : Math.max(0, 1023 - running(slot))) * 2 ** 32 +
    cacheWeight(key, slot.hash)
  const candidates = (): NodeSlot[] =>
    field.candidates === 'welcoming'
      ? pool.ranks().flatMap(({ indexes }) => Array.from(indexes, (index) => table.slots[index] as NodeSlot))
      : [...field.candidates].filter((slot) => slot !== undefined)

  const all = (): Score[] =>
    candidates()
      .filter((slot) => fits(slot) && accepts(slot))
      .sort((a, b) => worth(b) - worth(a) || (a.name < b.name ? -1 : 1))
      .map((slot) => ({
        node: slot.name,
        native: pool.native(slot),
        cache: cacheWeight(key, slot.hash),
        running: running(slot),
      }))

  if (field.candidates === 'welcoming' && !prefers) {
    for (const one of pool.ranks()) {
      const first = heaviest(one, table.slots, { key, bound, running, takes: (slot) => fits(slot) && accepts(slot) })
      if (first) return { first, all }
    }
    return { first: undefined, all }
  }
  let first: NodeSlot | undefined
  let best = -1
  for (const slot of candidates()) {
    if (!fits(slot)) continue
    const value = worth(slot)
    if (value <= best || !accepts(slot)) continue
    first = slot
    best = value
  }
  return { first, all }
}

interface Choice {
  readonly key: number
  /** From so many builds on, a node comes after all that have fewer. */
  readonly bound: number
  readonly running: (slot: NodeSlot) => number
  readonly takes: (slot: NodeSlot) => boolean
}

/** The same order among nodes that differ in nothing else. Nearly all of them cost one multiplication and no memory. */
function heaviest(
  { indexes, hashes }: Rank,
  slots: readonly (NodeSlot | undefined)[],
  { key, bound, running, takes }: Choice,
): NodeSlot | undefined {
  let first: NodeSlot | undefined
  let best = -1
  let overloaded: NodeSlot | undefined
  let fewest = Infinity
  let heavy = -1
  for (let i = 0; i < hashes.length; i++) {
    const weight = cacheWeight(key, hashes[i] as number)
    if (weight <= best) continue
    const slot = slots[indexes[i] as number] as NodeSlot
    const builds = running(slot)
    if (builds < bound) {
      if (!takes(slot)) continue
      first = slot
      best = weight
    } else if (!first && (builds < fewest || (builds === fewest && weight > heavy)) && takes(slot)) {
      overloaded = slot
      fewest = builds
      heavy = weight
    }
  }
  return first ?? overloaded
}
