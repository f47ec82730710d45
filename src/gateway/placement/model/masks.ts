import type { NodeSlot } from '../facts.ts'
import type { NodeDemand, Spread } from '../scheduling/demand.ts'
import {
  matchesNodeAffinity,
  matchesNodeSelector,
  refusedByNode,
  untoleratedTaint,
} from '../scheduling/node-filters.ts'
import type { NodeTable } from './nodes.ts'

/** Which nodes pass everything that does not depend on other pods, by the index of their slot. */
export interface NodeMask {
  has(slot: NodeSlot): boolean
  readonly count: number
}

/** The topology domains of a spread constraint. */
export interface SpreadDomains {
  /** The domain in which pods of this node are counted; undefined if they are not. */
  of(slot: NodeSlot): string | undefined
  readonly size: number
}

export interface Masks {
  mask(demand: NodeDemand): NodeMask
  /** @param all the constraints of the pod: a node must have the topology keys of all of them. */
  domains(demand: NodeDemand, spread: Spread, all: readonly Spread[]): SpreadDomains
}

/** Distinct constraints are few: most templates have none. */
const limit = 256

/** Remembers what follows from nodes alone, brought up to date by the table's log when it is asked for. */
export function createMasks(table: NodeTable): Masks {
  const masks = remember<NodeMask>()
  const keys = new WeakMap<NodeDemand, string>()
  /** The same text for equal demands; worked out once for each object. */
  const keyOf = (demand: NodeDemand): string => {
    let key = keys.get(demand)
    if (key === undefined) {
      key = JSON.stringify([demand.nodeName, demand.nodeSelector, demand.terms, demand.tolerations])
      keys.set(demand, key)
    }
    return key
  }
  const domains = remember<SpreadDomains>()
  return {
    mask: (demand) => masks(keyOf(demand), () => nodeMask(table, demand)),
    domains: (demand, spread, all) =>
      domains(
        JSON.stringify([
          keyOf(demand),
          spread.topologyKey,
          spread.honorAffinity,
          spread.honorTaints,
          all.map((s) => s.topologyKey),
        ]),
        () => spreadDomains(table, demand, spread, all),
      ),
  }
}

function nodeMask(table: NodeTable, demand: NodeDemand): Refreshed<NodeMask> {
  let passes = new Uint8Array(table.slots.length)
  let count = 0
  const refresh = table.follow((index, slot) => {
    if (index >= passes.length) passes = grown(passes, index + 1)
    const now = Number(slot?.facts !== undefined && refusedByNode(slot.facts, demand) === undefined)
    count += now - (passes[index] ?? 0)
    passes[index] = now
  })
  return {
    refresh,
    value: {
      has: (slot) => passes[slot.index] === 1,
      get count() {
        return count
      },
    },
  }
}

function spreadDomains(
  table: NodeTable,
  demand: NodeDemand,
  spread: Spread,
  all: readonly Spread[],
): Refreshed<SpreadDomains> {
  const values: (string | undefined)[] = []
  const nodes = new Map<string, number>()
  const domainOf = (slot: NodeSlot | undefined): string | undefined => {
    const facts = slot?.facts
    if (!facts || all.some((s) => facts.labels[s.topologyKey] === undefined)) return undefined
    if (spread.honorAffinity && !(matchesNodeSelector(facts, demand) && matchesNodeAffinity(facts, demand)))
      return undefined
    if (spread.honorTaints && untoleratedTaint(facts, demand)) return undefined
    return facts.labels[spread.topologyKey]
  }
  const count = (value: string | undefined, by: number): void => {
    if (value === undefined) return
    const now = (nodes.get(value) ?? 0) + by
    if (now === 0) nodes.delete(value)
    else nodes.set(value, now)
  }
  const refresh = table.follow((index, slot) => {
    const [before, now] = [values[index], domainOf(slot)]
    if (before === now) return
    count(before, -1)
    count(now, 1)
    values[index] = now
  })
  return {
    refresh,
    value: {
      of: (slot) => values[slot.index],
      get size() {
        return nodes.size
      },
    },
  }
}

interface Refreshed<T> {
  readonly value: T
  refresh(): void
}

function remember<T>(): (key: string, make: () => Refreshed<T>) => T {
  const known = new Map<string, Refreshed<T>>()
  return (key, make) => {
    let entry = known.get(key)
    if (!entry) {
      if (known.size >= limit) known.delete(known.keys().next().value as string)
      entry = make()
      known.set(key, entry)
    }
    entry.refresh()
    return entry.value
  }
}

/** A larger copy, with room for more. */
export function grown(bytes: Uint8Array<ArrayBuffer>, length: number): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(Math.max(length, bytes.length * 2))
  larger.set(bytes)
  return larger
}
