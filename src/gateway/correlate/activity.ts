/** Builds that run now. */
export interface Activity {
  /** @returns a function to call when the build has ended. */
  started(node: string): () => void
  on(node: string): number
  /** By node; idle ones are left out. */
  readonly busy: ReadonlyMap<string, number>
  readonly total: number
  /** Resolves when no build runs, at once if none does. */
  idle(): Promise<void>
}

export function createActivity(): Activity {
  const running = new Map<string, number>()
  let total = 0
  let waiting: (() => void)[] = []
  const count = (node: string, by: number): void => {
    const now = (running.get(node) ?? 0) + by
    if (now === 0) running.delete(node)
    else running.set(node, now)
    total += by
  }
  return {
    started(node) {
      count(node, 1)
      let ended = false
      return () => {
        if (ended) return
        ended = true
        count(node, -1)
        if (total > 0) return
        for (const resolve of waiting) resolve()
        waiting = []
      }
    },
    busy: running,
    on: (node) => running.get(node) ?? 0,
    get total() {
      return total
    },
    idle: () => (total === 0 ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve))),
  }
}
