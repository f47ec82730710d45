import type { NodeFacts, NodeSlot } from '../facts.ts'
import { hash } from '../hash.ts'
import type { HostPort } from '../scheduling/demand.ts'
import type { Amounts } from '../scheduling/requests.ts'

interface MutableSlot extends NodeSlot {
  facts: NodeFacts | undefined
  pods: number
  readonly requested: Map<string, number>
  readonly ports: HostPort[]
}

/** What a pod takes of its node. */
export interface Share {
  readonly requests: Amounts
  readonly ports: readonly HostPort[]
}

/** All nodes, dense, with a log of which ones changed so that what is derived from nodes need not be made anew. */
export interface NodeTable {
  /** Holes where nodes are gone. */
  readonly slots: readonly (NodeSlot | undefined)[]
  /** Nodes that exist. */
  readonly size: number
  get(name: string): NodeSlot | undefined
  /** The slot of a node that a pod is on, made if need be. */
  slot(name: string): NodeSlot
  set(facts: NodeFacts): void
  remove(name: string): void
  /** Something else about the node changed that derived data depends on: its agent. */
  touch(name: string): void
  occupy(slot: NodeSlot, share: Share): void
  vacate(slot: NodeSlot, share: Share): void
  /**
   * Keeps derived data current. `update` is called for each slot at first and for those that changed since the last
   * call of the function that is returned. Requests of pods are not in the log: they change too often.
   */
  follow(update: (index: number, slot: NodeSlot | undefined) => void): () => void
}

/** Beyond this it is as fast to look at all nodes again. */
const longest = 4096

export function createNodeTable(): NodeTable {
  const slots: (MutableSlot | undefined)[] = []
  const byName = new Map<string, MutableSlot>()
  const free: number[] = []
  let size = 0
  let log: number[] = []
  let start = 0

  const changed = (index: number): void => {
    if (log.length >= longest) {
      start += log.length
      log = []
    }
    log.push(index)
  }
  const ensure = (name: string): MutableSlot => {
    let slot = byName.get(name)
    if (slot) return slot
    const index = free.pop() ?? slots.length
    slot = { index, name, hash: hash(name), facts: undefined, pods: 0, requested: new Map(), ports: [] }
    slots[index] = slot
    byName.set(name, slot)
    changed(index)
    return slot
  }
  const release = (slot: MutableSlot): void => {
    if (slot.facts !== undefined || slot.pods > 0 || byName.get(slot.name) !== slot) return
    byName.delete(slot.name)
    slots[slot.index] = undefined
    free.push(slot.index)
    changed(slot.index)
  }
  const count = (slot: MutableSlot, { requests }: Share, sign: 1 | -1): void => {
    slot.pods += sign
    for (const [name, amount] of requests) {
      const sum = (slot.requested.get(name) ?? 0) + sign * amount
      if (sum === 0) slot.requested.delete(name)
      else slot.requested.set(name, sum)
    }
  }
  return {
    slots,
    get size() {
      return size
    },
    get: (name) => byName.get(name),
    slot: ensure,
    set(facts) {
      const slot = ensure(facts.name)
      if (slot.facts === undefined) size += 1
      slot.facts = facts
      changed(slot.index)
    },
    remove(name) {
      const slot = byName.get(name)
      if (!slot) return
      if (slot.facts !== undefined) size -= 1
      slot.facts = undefined
      changed(slot.index)
      release(slot)
    },
    touch(name) {
      const slot = byName.get(name)
      if (slot) changed(slot.index)
    },
    occupy(slot, share) {
      // A slot that was released while the pod was being read is needed after all.
      const own = ensure(slot.name)
      count(own, share, 1)
      own.ports.push(...share.ports)
    },
    vacate(slot, share) {
      const own = byName.get(slot.name)
      if (!own) return
      count(own, share, -1)
      for (const port of share.ports) {
        const at = own.ports.findIndex((p) => p === port)
        if (at >= 0) own.ports.splice(at, 1)
      }
      release(own)
    },
    follow(update) {
      let position = -1
      return () => {
        const end = start + log.length
        if (position === end) return
        if (position < start) for (let i = 0; i < slots.length; i++) update(i, slots[i])
        else {
          for (let i = position - start; i < log.length; i++) {
            const index = log[i] as number
            update(index, slots[index])
          }
        }
        position = end
      }
    },
  }
}
