import type { ClusterView, NodeSlot } from './cluster.ts'
import { cannotBuild, isNative, unwelcoming, type Wishes } from './fitness.ts'
import { grown } from './model/masks.ts'

/** The nodes a build for some platforms can go to, whatever draws it there. */
export interface Pool {
  /** Its agent takes the build. */
  readonly can: (slot: NodeSlot) => boolean
  /** Nothing speaks against a build that could go elsewhere: not cordoned, no pressure. */
  readonly welcomes: (slot: NodeSlot) => boolean
  /** Requested platforms that run natively there. */
  readonly native: (slot: NodeSlot) => number
  /** Nodes that welcome the build. */
  readonly size: number
  /** The same nodes, those that run most of the platforms natively first. */
  ranks(): readonly Rank[]
}

/** Nodes that welcome a build and run as many of its platforms natively, as plain numbers: there may be thousands. */
export interface Rank {
  /** Of their slots, ascending. */
  readonly indexes: Int32Array
  /** The hash of each. */
  readonly hashes: Uint32Array
}

export type Pools = (platforms: readonly string[], wishes?: Wishes) => Pool

type Nodes = Pick<ClusterView, 'nodes' | 'agents' | 'table'>

/** Clients choose the platforms: what they write must not fill the memory. */
const limit = 32

/**
 * Remembers pools, and looks again only at nodes that changed: looking at 5,000 nodes takes a millisecond, and builds
 * come far more often than nodes change.
 */
export function rememberPools(view: Nodes): Pools {
  const known = new Map<string, { pool: Pool; refresh: () => void }>()
  return (platforms, wishes = {}) => {
    const key = `${platforms.join()}${wishes.nativeOnly ? ' native' : ''}${wishes.stays ? ' stays' : ''}`
    let entry = known.get(key)
    if (!entry) {
      if (known.size >= limit) known.clear()
      entry = poolOf(view, platforms, wishes)
      known.set(key, entry)
    }
    entry.refresh()
    return entry.pool
  }
}

const states = { out: 0, can: 1, welcomes: 2 } as const

function poolOf(view: Nodes, platforms: readonly string[], wishes: Wishes): { pool: Pool; refresh: () => void } {
  let state = new Uint8Array(view.table.slots.length)
  let natives = new Uint8Array(state.length)
  let size = 0
  let ranks: readonly Rank[] | undefined
  const refresh = view.table.follow((index, slot) => {
    ranks = undefined
    if (index >= state.length) [state, natives] = [grown(state, index + 1), grown(natives, index + 1)]
    const facts = slot?.facts
    const out = !slot || cannotBuild(view, slot.name, platforms, wishes) !== undefined
    const now = out || !facts ? states.out : unwelcoming(facts) ? states.can : states.welcomes
    size += Number(now === states.welcomes) - Number(state[index] === states.welcomes)
    state[index] = now
    const agent = slot && view.agents.get(slot.name)
    natives[index] = facts ? platforms.filter((p) => isNative(facts, p, agent)).length : 0
  })
  const pool: Pool = {
    can: (slot) => (state[slot.index] ?? 0) >= states.can,
    welcomes: (slot) => state[slot.index] === states.welcomes,
    native: (slot) => natives[slot.index] ?? 0,
    get size() {
      return size
    },
    ranks: () => (ranks ??= ranksOf(view.table.slots, pool)),
  }
  return { pool, refresh }
}

function ranksOf(slots: readonly (NodeSlot | undefined)[], { welcomes, native }: Pool): readonly Rank[] {
  const byNatives = new Map<number, NodeSlot[]>()
  for (const slot of slots) {
    if (!slot || !welcomes(slot)) continue
    const same = byNatives.get(native(slot))
    if (same) same.push(slot)
    else byNatives.set(native(slot), [slot])
  }
  return [...byNatives]
    .sort(([a], [b]) => b - a)
    .map(([, same]) => ({
      indexes: Int32Array.from(same, (slot) => slot.index),
      hashes: Uint32Array.from(same, (slot) => slot.hash),
    }))
}
