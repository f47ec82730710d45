/** Somebody who wants to build on this node. */
export interface TurnAsked {
  /** It starts while fewer than this have a turn. */
  readonly limit: number
  /** Told the place among those who wait (1 is next) whenever it changes. Not called for one that starts at once. */
  readonly onPlace: (place: number) => void
  /** Aborts when whoever asked is gone. */
  readonly signal: AbortSignal
}

/** What builds on this node at the same time, over all gateways. */
export interface NodeTurns {
  /** @returns a function that gives the turn back. @throws the signal's reason. */
  wait(asked: TurnAsked): Promise<() => void>
  readonly taken: number
  readonly waiting: number
}

interface Entry {
  readonly asked: TurnAsked
  readonly start: () => void
  place: number
}

/** In the order of arrival, but one who must wait longer does not keep those behind who have a higher limit. */
export function createNodeTurns(): NodeTurns {
  let taken = 0
  let entries: Entry[] = []

  const turn = (): void => {
    for (;;) {
      const next = entries.find(({ asked }) => taken < asked.limit)
      if (!next) break
      entries = entries.filter((entry) => entry !== next)
      taken += 1
      next.start()
    }
    for (const [i, entry] of entries.entries()) {
      if (entry.place === i + 1) continue
      entry.place = i + 1
      entry.asked.onPlace(entry.place)
    }
  }
  return {
    wait: (asked) =>
      new Promise((resolve, reject) => {
        const { signal } = asked
        if (signal.aborted) return reject(signal.reason as Error)
        const leave = (): void => {
          entries = entries.filter((other) => other !== entry)
          reject(signal.reason as Error)
          turn()
        }
        const entry: Entry = {
          ...{ asked, place: 0 },
          start() {
            signal.removeEventListener('abort', leave)
            let held = true
            resolve(() => {
              if (!held) return
              held = false
              taken -= 1
              turn()
            })
          },
        }
        signal.addEventListener('abort', leave, { once: true })
        entries.push(entry)
        turn()
      }),
    get taken() {
      return taken
    },
    get waiting() {
      return entries.length
    },
  }
}
