/** Which nodes were told where a name is: they may have it before their agents say so. */
export interface Told {
  readonly note: (name: string, node: string) => void
  /** Those of the last half minute, in which an agent has said what its node has pulled. */
  readonly of: (name: string) => readonly string[]
}

/** Milliseconds that it is remembered. */
const remembered = 30_000
/** Milliseconds between two looks at what can be forgotten: thousands of nodes may pull at the same time. */
const cleaning = 1000

export function createTold(): Told {
  /** By name and node: when. */
  const times = new Map<string, Map<string, number>>()
  let cleaned = 0
  const isOver = (at: number): boolean => at < performance.now() - remembered
  const clean = (): void => {
    if (performance.now() < cleaned + cleaning) return
    cleaned = performance.now()
    for (const [name, nodes] of times) {
      for (const [node, at] of nodes) if (isOver(at)) nodes.delete(node)
      if (nodes.size === 0) times.delete(name)
    }
  }
  return {
    note(name, node) {
      clean()
      const nodes = times.get(name) ?? new Map<string, number>()
      times.set(name, nodes.set(node, performance.now()))
    },
    of: (name) => [...(times.get(name) ?? [])].flatMap(([node, at]) => (isOver(at) ? [] : [node])),
  }
}
