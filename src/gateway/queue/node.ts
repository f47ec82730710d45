import type { TurnsOfNode, Wanting } from './circles.ts'
import type { NodeTurn } from './node-turn.ts'
import type { Passes, Waiting } from './order.ts'
import type { TurnRequest, Turns } from './turns.ts'

export interface Entry extends Waiting {
  readonly request: TurnRequest
  readonly builds: number
  /** Nothing is waited for any more. */
  started: boolean
  start(): void
  fail(error: Error): void
  position: number
}

/** A turn of one connection on a node, however many of its builds use it. */
export interface Place {
  entries: readonly Entry[]
  /** What the node's agent was asked for. */
  turn?: NodeTurn
  /** The agent has given the turn, or will at once. */
  sure: boolean
}

export interface Node {
  readonly name: string
  /** Who has a turn of this gateway, by connection. */
  readonly places: Map<object, Place>
  entries: Entry[]
  passes: Passes
}

/** Those who have a turn of this gateway and wait for that of the node. */
export const atNode = ({ places }: Node): Entry[] =>
  [...places.values()].flatMap(({ entries }) => entries.filter(({ started }) => !started))

export interface WantingEntry extends Wanting {
  readonly node: Node
  readonly entry: Entry
}

export function stateOf(node: Node, limit: Turns['limit']): TurnsOfNode<WantingEntry> {
  const having = [...node.places.values()].flatMap(({ entries, sure }) =>
    entries.map((entry) => ({ entry, ...whose(entry), runs: entry.started || sure })),
  )
  const want = (entry: Entry, atNode: boolean): WantingEntry => ({
    ...{ node, entry, atNode, limit: limit(entry.request) ?? Infinity },
    ...whose(entry),
  })
  const asking = having.filter(({ runs }) => !runs)
  return {
    having,
    wanting: [...asking.map(({ entry }) => want(entry, true)), ...node.entries.map((entry) => want(entry, false))],
  }
}

const whose = ({ request }: Entry): { group: object; build: object } => ({
  ...{ group: request.group, build: request.build ?? request },
})
