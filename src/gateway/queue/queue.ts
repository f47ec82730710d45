import { InsituError } from '../../kernel/errors.ts'
import type { Caller } from '../listener/caller.ts'
import { inCircles, type TurnsOfNode, type Wanting } from './circles.ts'
import { afterTurn, inTurn, noPasses, type Passes, type Waiting } from './order.ts'
import type { TurnRequest, Turns } from './turns.ts'

export interface QueueOptions {
  /** Connections that may build on a node at the same time; 0 is no limit. Asked for each turn: it may change. */
  readonly perNode: () => number
  /** Whose turns the caller's builds are, and how many it may have at the same time (0: no limit). */
  readonly tenant: (caller: Caller) => { readonly name: string; readonly weight: number; readonly builds: number }
  /** Why a node takes no builds any more, or undefined while it does. */
  readonly trouble?: ((node: string) => string | undefined) | undefined
  /** Milliseconds between two looks at nodes and limits while somebody waits. Default 1000. */
  readonly lookAgain?: number
}

export interface Queue extends Turns {
  /** Builds that wait, by node. For metrics. */
  waiting(): ReadonlyMap<string, number>
}

interface Entry extends Waiting {
  readonly request: TurnRequest
  readonly builds: number
  start(): void
  fail(error: Error): void
  position: number
}

interface Node {
  /** Builds that run, by connection. */
  readonly running: Map<object, readonly Entry[]>
  entries: Entry[]
  passes: Passes
}

/**
 * A queue for each node. Turns go round the tenants by weight, so that who has asked for a hundred builds does not keep
 * the others waiting. Of this gateway only: what builds on a node over all gateways its agent counts (shared-turns.ts).
 */
export function createQueue(options: QueueOptions): Queue {
  const { perNode, tenant, trouble = () => undefined, lookAgain = 1000 } = options
  const nodes = new Map<string, Node>()
  /** Connections that build, by tenant. */
  const busy = new Map<string, Map<object, number>>()
  let timer: NodeJS.Timeout | undefined

  const nodeOf = (name: string): Node => {
    const known = nodes.get(name)
    if (known) return known
    const node: Node = { running: new Map(), entries: [], passes: noPasses }
    nodes.set(name, node)
    return node
  }
  const limit: Queue['limit'] = ({ perNode: own }) => {
    const least = Math.min(perNode() || Infinity, own ?? Infinity)
    return least === Infinity ? undefined : least
  }
  const mayStart = (node: Node, entry: Entry): boolean => {
    const { group } = entry.request
    const free = node.running.has(group) || node.running.size < (limit(entry.request) ?? Infinity)
    const theirs = busy.get(entry.tenant)
    return free && (entry.builds === 0 || theirs === undefined || theirs.has(group) || theirs.size < entry.builds)
  }
  const occupy = (node: Node, entry: Entry): void => {
    const { group } = entry.request
    if (!node.running.has(group)) node.passes = afterTurn(node.passes, entry)
    node.running.set(group, [...(node.running.get(group) ?? []), entry])
    const own = busy.get(entry.tenant) ?? new Map<object, number>()
    busy.set(entry.tenant, own)
    count(own, group, 1)
  }
  const release = (name: string, entry: Entry): void => {
    const { running } = nodeOf(name)
    const { group } = entry.request
    const others = (running.get(group) ?? []).filter((other) => other !== entry)
    if (others.length > 0) running.set(group, others)
    else running.delete(group)
    const own = busy.get(entry.tenant)
    if (own) count(own, group, -1)
    if (own?.size === 0) busy.delete(entry.tenant)
    turn()
  }
  const start = (node: Node, entry: Entry): void => {
    node.entries = node.entries.filter((other) => other !== entry)
    occupy(node, entry)
    entry.start()
  }
  const giveFree = (node: Node): void => {
    // Every start changes the order, and what a tenant may still have.
    for (;;) {
      const next = inTurn(node.entries, node.passes).find((entry) => mayStart(node, entry))
      if (!next) return
      start(node, next)
    }
  }
  /** Gives those who wait for each other a turn beyond the limit, until one of them ends by itself. */
  const breakCircles = (): void => {
    for (;;) {
      const [next] = inCircles([...nodes.values()].map((node) => stateOf(node, limit)))
      if (!next) return
      start(next.node, next.entry)
      giveFree(next.node)
    }
  }
  /** Gives every turn that is free, on every node: a tenant's limit is one over all nodes. */
  const turn = (): void => {
    for (const [name, node] of nodes) {
      const why = node.entries.length > 0 ? trouble(name) : undefined
      if (why !== undefined) for (const entry of node.entries.splice(0)) entry.fail(leaving(name, why))
      giveFree(node)
    }
    breakCircles()
    for (const [name, node] of nodes) {
      for (const [i, entry] of inTurn(node.entries, node.passes).entries()) {
        if (entry.position === i + 1) continue
        entry.position = i + 1
        entry.request.onPosition?.(entry.position)
      }
      if (node.entries.length === 0 && node.running.size === 0) nodes.delete(name)
    }
    clearTimeout(timer)
    const anybody = [...nodes.values()].some((node) => node.entries.length > 0)
    timer = anybody ? setTimeout(turn, lookAgain) : undefined
  }

  return {
    wait(request) {
      const { signal, caller } = request
      return new Promise((resolve, reject) => {
        if (signal.aborted) return reject(signal.reason as Error)
        const { name, weight, builds } = tenant(caller)
        const node = nodeOf(request.node)
        const leave = (): void => {
          node.entries = node.entries.filter((other) => other !== entry)
          reject(signal.reason as Error)
          turn()
        }
        const entry: Entry = {
          ...{ tenant: name, weight, builds, request, position: 0 },
          start() {
            signal.removeEventListener('abort', leave)
            let held = true
            resolve(() => {
              if (held) release(request.node, entry)
              held = false
            })
          },
          fail(error) {
            signal.removeEventListener('abort', leave)
            reject(error)
          },
        }
        signal.addEventListener('abort', leave, { once: true })
        node.entries.push(entry)
        turn()
      })
    },
    limit,
    waiting: () => new Map([...nodes].map(([name, node]) => [name, node.entries.length])),
  }
}

interface WantingEntry extends Wanting {
  readonly node: Node
  readonly entry: Entry
}

const stateOf = (node: Node, limit: Queue['limit']): TurnsOfNode<WantingEntry> => ({
  having: [...node.running.values()].flat().map(({ request }) => ({
    ...{ group: request.group, build: request.build ?? request, blocked: request.blocked?.() === true },
  })),
  wanting: node.entries.map((entry) => {
    const { request } = entry
    return { node, entry, group: request.group, build: request.build ?? request, limit: limit(request) ?? Infinity }
  }),
})

function count(counts: Map<object, number>, key: object, by: number): void {
  const value = (counts.get(key) ?? 0) + by
  if (value > 0) counts.set(key, value)
  else counts.delete(key)
}

/** For one who waits while its node goes. */
export const leaving = (node: string, why: string): InsituError =>
  new InsituError('NODE_DRAINING', `node ${node}, where this build waited for its turn, ${why}`, {
    status: 'UNAVAILABLE',
    fix: 'run the build again, it goes to another node',
  })
