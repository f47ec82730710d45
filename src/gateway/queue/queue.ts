import { describeError, InsituError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import type { TurnWish } from '../directory/agent-turn.ts'
import type { Caller } from '../listener/caller.ts'
import { inCircles } from './circles.ts'
import { askNode, type NodeTurn } from './node-turn.ts'
import { atNode, type Entry, type Node, type Place, stateOf, type WantingEntry } from './node.ts'
import { afterTurn, inTurn, noPasses } from './order.ts'
import type { Turns } from './turns.ts'

export interface QueueOptions {
  /** Connections that may build on a node at the same time; 0 is no limit. Asked for each turn: it may change. */
  readonly perNode: () => number
  /** Whose turns the caller's builds are, and how many it may have at the same time (0: no limit). */
  readonly tenant: (caller: Caller) => { readonly name: string; readonly weight: number; readonly builds: number }
  /** Why a node takes no builds any more, or undefined while it does. */
  readonly trouble?: ((node: string) => string | undefined) | undefined
  /** Milliseconds between two looks at nodes and limits while somebody waits. Default 1000. */
  readonly lookAgain?: number
  /** Absent: what builds on a node is counted by this gateway alone. */
  readonly shared?: SharedTurns | undefined
}

/** The turns that gateways share: who has one of this gateway asks the agent of the node for one there. */
export interface SharedTurns {
  /** Asks the agent of a node. @throws anything when there is none to ask. */
  readonly hold: (node: string, wish: TurnWish) => Promise<() => void>
  readonly logger: Logger
  /**
   * Milliseconds that a build waits for what may be a circle with another gateway, while its connection builds something
   * else. Default 60,000.
   */
  readonly patience?: number
}

export interface Queue extends Turns {
  /** Builds that wait for a turn of this gateway, by node. For metrics. */
  waiting(): ReadonlyMap<string, number>
}

/**
 * A queue for each node. Turns go round the tenants by weight, so that who has asked for a hundred builds does not keep
 * the others waiting. Who has a turn here then asks the agent of the node, which counts over all gateways. A node whose agent
 * cannot be asked counts here alone: what is wrong with it is said where the build goes there.
 */
export function createQueue(options: QueueOptions): Queue {
  const { perNode, tenant, trouble = () => undefined, lookAgain = 1000, shared } = options
  const nodes = new Map<string, Node>()
  /** Connections that have a turn, by tenant. */
  const busy = new Map<string, Map<object, number>>()
  /** Since when somebody waits in what may be a circle with another gateway. */
  let waitsSince: ReadonlyMap<Entry, number> = new Map()
  let timer: NodeJS.Timeout | undefined

  const nodeOf = (name: string): Node => {
    const known = nodes.get(name)
    if (known) return known
    const node: Node = { name, places: new Map(), entries: [], passes: noPasses }
    nodes.set(name, node)
    return node
  }
  const limit: Queue['limit'] = ({ perNode: own }) => {
    const least = Math.min(perNode() || Infinity, own ?? Infinity)
    return least === Infinity ? undefined : least
  }
  const mayStart = (node: Node, entry: Entry): boolean => {
    const { group } = entry.request
    const free = node.places.has(group) || node.places.size < (limit(entry.request) ?? Infinity)
    const theirs = busy.get(entry.tenant)
    return free && (entry.builds === 0 || theirs === undefined || theirs.has(group) || theirs.size < entry.builds)
  }
  const occupy = (node: Node, entry: Entry): Place => {
    const { group } = entry.request
    const place: Place = node.places.get(group) ?? { entries: [], sure: false }
    if (place.entries.length === 0) node.passes = afterTurn(node.passes, entry)
    place.entries = [...place.entries, entry]
    node.places.set(group, place)
    const own = busy.get(entry.tenant) ?? new Map<object, number>()
    busy.set(entry.tenant, own)
    count(own, group, 1)
    return place
  }
  /** One that waits leaves the queue, one that has a turn gives it back. */
  const leave = (node: Node, entry: Entry): void => {
    const { group } = entry.request
    const place = node.places.get(group)
    node.entries = node.entries.filter((other) => other !== entry)
    if (!place?.entries.includes(entry)) return
    place.entries = place.entries.filter((other) => other !== entry)
    if (place.entries.length === 0) {
      node.places.delete(group)
      place.turn?.giveBack()
    }
    const own = busy.get(entry.tenant)
    if (own) count(own, group, -1)
    if (own?.size === 0) busy.delete(entry.tenant)
  }
  const ask = ({ hold, logger }: SharedTurns, node: Node, place: Place, most: number | undefined): NodeTurn =>
    askNode({
      hold: (wish) => hold(node.name, wish),
      limit: most,
      onPlace(position) {
        for (const { started, request } of place.entries) if (!started) request.onPosition?.(position)
      },
      onTurn(problem) {
        if (problem !== undefined)
          logger.warn({ node: node.name, err: describeError(problem) }, 'turns on a node are counted here only')
        place.sure = true
        for (const entry of place.entries) if (!entry.started) entry.start()
        turn()
      },
    })
  /** Gives a turn of this gateway, and asks for that of the node. */
  const start = (node: Node, entry: Entry, beyond = false): void => {
    node.entries = node.entries.filter((other) => other !== entry)
    const place = occupy(node, entry)
    const most = limit(entry.request)
    if (!shared || most === undefined || place.sure) return entry.start()
    place.sure = beyond
    place.turn ??= ask(shared, node, place, beyond ? undefined : most)
  }
  const startBeyond = (node: Node, entry: Entry): void => {
    const place = node.places.get(entry.request.group)
    if (!place?.entries.includes(entry)) return start(node, entry, true)
    place.sure = true
    place.turn?.insist()
  }
  const giveFree = (node: Node): void => {
    // Every start changes the order, and what a tenant may still have.
    for (;;) {
      const next = inTurn(node.entries, node.passes).find((entry) => mayStart(node, entry))
      if (!next) return
      start(node, next)
    }
  }
  const circles = (strangers?: 'may wait'): WantingEntry[] =>
    inCircles(
      [...nodes.values()].map((node) => stateOf(node, limit)),
      strangers,
    )
  /** One whose patience is over: it may wait for another gateway, which nobody sees. */
  const impatient = ({ logger, patience = 60_000 }: SharedTurns): WantingEntry | undefined => {
    const now = performance.now()
    const all = circles('may wait')
    waitsSince = new Map(all.map(({ entry }) => [entry, waitsSince.get(entry) ?? now]))
    const next = all.find(({ entry }) => now - (waitsSince.get(entry) ?? now) >= patience)
    if (next) {
      const { name: node } = next.node
      logger.info(
        { node },
        'a build starts beyond the limit of its node: others of its connection may be waiting for it',
      )
    }
    return next
  }
  /** Gives those who wait for each other a turn beyond the limit, until one of them ends by itself. */
  const breakCircles = (): void => {
    for (;;) {
      const next = circles()[0] ?? (shared && impatient(shared))
      if (!next) return
      startBeyond(next.node, next.entry)
      giveFree(next.node)
    }
  }
  const failAll = (node: Node, why: string): void => {
    for (const entry of [...atNode(node), ...node.entries]) {
      leave(node, entry)
      entry.fail(leaving(node.name, why))
    }
  }
  /** Gives every turn that is free, on every node: a tenant's limit is one over all nodes. */
  const turn = (): void => {
    for (const [name, node] of nodes) {
      const why = waits(node) ? trouble(name) : undefined
      if (why !== undefined) failAll(node, why)
      giveFree(node)
    }
    breakCircles()
    for (const [name, node] of nodes) {
      for (const [i, entry] of inTurn(node.entries, node.passes).entries()) {
        if (entry.position === i + 1) continue
        entry.position = i + 1
        entry.request.onPosition?.(entry.position)
      }
      if (node.entries.length === 0 && node.places.size === 0) nodes.delete(name)
    }
    clearTimeout(timer)
    timer = [...nodes.values()].some(waits) ? setTimeout(turn, lookAgain) : undefined
  }

  return {
    wait(request) {
      const { signal, caller } = request
      return new Promise((resolve, reject) => {
        if (signal.aborted) return reject(signal.reason as Error)
        const { name, weight, builds } = tenant(caller)
        const node = nodeOf(request.node)
        const onAbort = (): void => {
          leave(node, entry)
          reject(signal.reason as Error)
          turn()
        }
        const entry: Entry = {
          ...{ tenant: name, weight, builds, request, started: false, position: 0 },
          start() {
            signal.removeEventListener('abort', onAbort)
            entry.started = true
            let held = true
            resolve(() => {
              if (!held) return
              held = false
              leave(node, entry)
              turn()
            })
          },
          fail(error) {
            signal.removeEventListener('abort', onAbort)
            reject(error)
          },
        }
        signal.addEventListener('abort', onAbort, { once: true })
        node.entries.push(entry)
        turn()
      })
    },
    limit,
    waiting: () => new Map([...nodes].map(([name, node]) => [name, node.entries.length])),
  }
}

const waits = (node: Node): boolean => node.entries.length > 0 || atNode(node).length > 0

function count(counts: Map<object, number>, key: object, by: number): void {
  const value = (counts.get(key) ?? 0) + by
  if (value > 0) counts.set(key, value)
  else counts.delete(key)
}

/** For one who waits while its node goes. */
const leaving = (node: string, why: string): InsituError =>
  new InsituError('NODE_DRAINING', `node ${node}, where this build waited for its turn, ${why}`, {
    status: 'UNAVAILABLE',
    fix: 'run the build again, it goes to another node',
  })
