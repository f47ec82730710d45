/** One that waits for a turn. */
export interface Wanting {
  /** Its connection. */
  readonly group: object
  readonly build: object
  /** It starts while fewer connections than this have a turn there. */
  readonly limit: number
}

/** One that has a turn. */
export interface Having {
  readonly group: object
  readonly build: object
  /** Nobody knows when it ends, because it waits for something else. */
  readonly blocked: boolean
}

/** The turns of a node. */
export interface TurnsOfNode<W extends Wanting> {
  readonly having: readonly Having[]
  readonly wanting: readonly W[]
}

/**
 * Builds of a connection wait for each other (bake). Two connections that have a turn each and wait for the other's would
 * wait for ever: the builds that do not end are waiting for those that do not start.
 * @returns those who wait in such a circle, and whose connection has a turn for another build. Only of a split build's own
 * turns, which are taken in the order of nodes, there is no circle.
 */
export function inCircles<W extends Wanting>(nodes: readonly TurnsOfNode<W>[]): W[] {
  const builds = new Map<object, Set<object>>()
  for (const { group, build } of nodes.flatMap(({ having }) => having)) {
    builds.set(group, (builds.get(group) ?? new Set()).add(build))
  }
  const hasAnother = ({ group, build }: W): boolean => [...(builds.get(group) ?? [])].some((other) => other !== build)
  const all = nodes.flatMap(({ having, wanting }) => wanting.map((one) => ({ one, having })))
  if (!all.some(({ one }) => hasAnother(one))) return []

  const blocked = new Set(nodes.flatMap(({ having }) => having.filter((one) => one.blocked).map((one) => one.group)))
  const waiting = Map.groupBy(all, ({ one }) => one.group)
  /** Connections that may have to wait for ever: all that wait, until it is seen that they need not. */
  const stuck = new Set([...blocked, ...waiting.keys()])
  const starts = ({ one: { group, limit }, having }: (typeof all)[number]): boolean =>
    new Set(having.map((one) => one.group).filter((other) => other !== group && stuck.has(other))).size < limit
  for (let before = Infinity; stuck.size < before;) {
    before = stuck.size
    for (const [group, wants] of waiting) if (!blocked.has(group) && wants.every(starts)) stuck.delete(group)
  }
  return all.filter((wish) => hasAnother(wish.one) && !starts(wish)).map(({ one }) => one)
}
