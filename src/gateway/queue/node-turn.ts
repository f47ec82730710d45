import type { TurnWish } from '../directory/agent-turn.ts'

/** A turn that the agent of a node was asked for. */
export interface NodeTurn {
  /** Waits no longer, but takes a turn beyond the limit. It counts for the others like any. */
  insist(): void
  /** Gives the turn back, or does not want it any more. */
  giveBack(): void
}

export interface NodeTurnOptions {
  /** Asks the agent. @throws anything when there is none to ask. */
  readonly hold: (wish: TurnWish) => Promise<() => void>
  /** It comes while fewer than this have a turn there; undefined: at once. */
  readonly limit: number | undefined
  readonly onPlace: (place: number) => void
  /** Called once: it is there, or why the agent cannot be asked. */
  readonly onTurn: (problem?: unknown) => void
}

/** More than ever build on a node, and the highest limit that an agent takes. */
const everybody = 999_999

/** Asks for a turn on a node. Nothing is called any more when it was given back. */
export function askNode({ hold, limit, onPlace, onTurn }: NodeTurnOptions): NodeTurn {
  let wanted = new AbortController()
  const ask = async (most: number): Promise<void> => {
    const { signal } = wanted
    let problem: unknown
    try {
      const end = await hold({ limit: most, onPlace, signal })
      if (signal.aborted) return end()
      signal.addEventListener('abort', end, { once: true })
    } catch (error) {
      if (signal.aborted) return
      problem = error
    }
    onTurn(problem)
  }
  const drop = (): void => wanted.abort(new Error('nobody wants the turn any more'))

  void ask(limit ?? everybody)
  return {
    insist() {
      drop()
      wanted = new AbortController()
      void ask(everybody)
    },
    giveBack: drop,
  }
}
