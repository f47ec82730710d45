/** A build that is going to give names to an image. */
export interface BuildInProgress {
  /** The node it was placed on, once that is known. */
  placed(node: string): void
  /** It is over; `failure` says why there is no image. Later calls change nothing. */
  ended(failure?: string): void
}

/** Names that are being built or wait for their turn, through this gateway. */
export interface InProgress {
  begin(names: readonly string[]): BuildInProgress
  /** Where a name is being built; the node is undefined while it is queued. */
  of(name: string): { readonly node: string | undefined } | undefined
  /**
   * Resolves when something happened to the name's builds: with the failure of the one that ended last, if it failed.
   * @returns what ends the wait.
   */
  next(name: string, listener: (failure: string | undefined) => void): () => void
  readonly names: number
}

interface Entry {
  node: string | undefined
}

export function createInProgress(): InProgress {
  const builds = new Map<string, Set<Entry>>()
  const listeners = new Map<string, Set<(failure: string | undefined) => void>>()

  return {
    begin(names) {
      const entry: Entry = { node: undefined }
      for (const name of names) builds.set(name, (builds.get(name) ?? new Set()).add(entry))
      let over = false
      return {
        placed: (node) => void (entry.node = node),
        ended(failure) {
          if (over) return
          over = true
          for (const name of names) {
            const running = builds.get(name)
            running?.delete(entry)
            if (running?.size === 0) builds.delete(name)
            for (const listener of listeners.get(name) ?? []) listener(failure)
          }
        },
      }
    },
    of(name) {
      const running = [...(builds.get(name) ?? [])]
      return running.find((b) => b.node !== undefined) ?? running[0]
    },
    next(name, listener) {
      const all = listeners.get(name) ?? new Set()
      listeners.set(name, all.add(listener))
      return () => {
        all.delete(listener)
        if (all.size === 0 && listeners.get(name) === all) listeners.delete(name)
      }
    },
    get names() {
      return builds.size
    },
  }
}
