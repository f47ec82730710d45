/** One that waits for a turn. */
export interface Wanting {
  /** Its connection. */
  readonly group: object
  readonly build: object
  /** It starts while fewer connections than this have a turn there. */
  readonly limit: number
  /** It has the turn of its gateway and waits for that of the node, which connections of other gateways may have. */
  readonly atNode: boolean
}

/** One that has a turn of its gateway. */
export interface Having {
  readonly group: object
  readonly build: object
  /** It has that of the node too. */
  readonly runs: boolean
}

/** The turns of a node. */
export interface TurnsOfNode<W extends Wanting> {
  readonly having: readonly Having[]
  readonly wanting: readonly W[]
}

interface Wish<W extends Wanting> {
  readonly one: W
  readonly having: readonly Having[]
}

/**
 * Builds of a connection wait for each other (bake). Two connections that have a turn each and wait for the other's would
 * wait for ever: the builds that do not end are waiting for those that do not start.
 * @param strangers whether connections of other gateways, of which nothing is known here, end by themselves or may be part of
 * the circle.
 * @returns those who wait in such a circle, and whose connection builds something else. Only of a split build's own turns,
 * which are taken in the order of nodes, there is no circle. Where there are more connections than the limit already, and
 * one of them ends by itself, it is waited for.
 */
export function inCircles<W extends Wanting>(
  nodes: readonly TurnsOfNode<W>[],
  strangers: 'end' | 'may wait' = 'end',
): W[] {
  const builds = new Map<object, Set<object>>()
  for (const { group, build, runs } of nodes.flatMap(({ having }) => having)) {
    if (runs) builds.set(group, (builds.get(group) ?? new Set()).add(build))
  }
  const buildsElse = ({ group, build }: W): boolean => [...(builds.get(group) ?? [])].some((other) => other !== build)
  const all = nodes.flatMap(({ having, wanting }) => wanting.map((one) => ({ one, having })))
  if (!all.some(({ one }) => buildsElse(one))) return []

  const stuck = stuckAmong(all, strangers)
  const crowded = ({ one: { group, limit }, having }: Wish<W>): boolean => {
    const others = groupsOf(having, group)
    return others.length > limit && others.some((other) => !stuck.has(other))
  }
  return all
    .filter((wish) => buildsElse(wish.one) && !starts(wish, stuck, strangers) && !crowded(wish))
    .map(({ one }) => one)
}

/** @returns the connections that may have to wait for ever: all that wait, until it is seen that they need not. */
function stuckAmong<W extends Wanting>(all: readonly Wish<W>[], strangers: 'end' | 'may wait'): ReadonlySet<object> {
  const waiting = Map.groupBy(all, ({ one }) => one.group)
  const stuck = new Set(waiting.keys())
  for (let before = Infinity; stuck.size < before;) {
    before = stuck.size
    for (const [group, wishes] of waiting) {
      if (wishes.every((wish) => starts(wish, stuck, strangers))) stuck.delete(group)
    }
  }
  return stuck
}

/** Whether one starts when all end that are not stuck. */
function starts<W extends Wanting>(wish: Wish<W>, stuck: ReadonlySet<object>, strangers: 'end' | 'may wait'): boolean {
  const { group, limit, atNode } = wish.one
  const others = groupsOf(atNode ? wish.having.filter(({ runs }) => runs) : wish.having, group)
  const remaining = others.filter((other) => stuck.has(other)).length
  // All other turns of the node may be those of strangers: only one of ours that ends makes room for sure.
  const room = !atNode || strangers === 'end' || remaining < others.length
  return room && remaining < limit
}

const groupsOf = (having: readonly Having[], but: object): object[] => [
  ...new Set(having.map(({ group }) => group).filter((group) => group !== but)),
]
