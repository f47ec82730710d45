/** One that waits, as far as its turn depends on it. */
export interface Waiting {
  readonly tenant: string
  /** How many turns its tenant gets for each turn of a tenant of weight 1. */
  readonly weight: number
}

/**
 * Stride scheduling: every tenant has a pass, the lowest pass has the next turn, and a turn raises it by 1/weight. See
 * Waldspurger and Weihl, "Stride Scheduling" (1995).
 */
export interface Passes {
  readonly of: ReadonlyMap<string, number>
  /** The pass of the last turn: who comes back from idleness starts here and has saved up nothing. */
  readonly now: number
}

export const noPasses: Passes = { of: new Map(), now: 0 }

const passOf = (passes: Passes, tenant: string): number => Math.max(passes.of.get(tenant) ?? 0, passes.now)

/** The passes after a turn of this one. Tenants that would start at `now` anyway are forgotten. */
export function afterTurn(passes: Passes, { tenant, weight }: Waiting): Passes {
  const now = passOf(passes, tenant)
  const of = new Map([...passes.of].filter(([, pass]) => pass > now))
  return { of: of.set(tenant, now + 1 / weight), now }
}

/** Those who wait, given in the order of their arrival, in the order of their turns. Within a tenant arrival decides. */
export function inTurn<W extends Waiting>(waiting: readonly W[], passes: Passes): W[] {
  const queues = Map.groupBy(waiting, (w) => w.tenant)
  const order: W[] = []
  let state = passes
  while (queues.size > 0) {
    let first: W | undefined
    for (const [head] of queues.values()) {
      if (head && (!first || passOf(state, head.tenant) < passOf(state, first.tenant))) first = head
    }
    if (!first) break
    order.push(first)
    state = afterTurn(state, first)
    const queue = queues.get(first.tenant)
    queue?.shift()
    if (queue?.length === 0) queues.delete(first.tenant)
  }
  return order
}
