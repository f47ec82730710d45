import { setTimeout as sleep } from 'node:timers/promises'

export interface DrainOptions {
  /** How many builds run now; a rejection means that there is no daemon left to ask. */
  readonly running: () => Promise<number>
  /** Milliseconds for running builds. */
  readonly grace: number
  /**
   * Milliseconds without a build until the node counts as drained: gateways learn that it drains a moment later, and
   * what they have placed by then is still on its way.
   */
  readonly settle: number
  /** Ends the wait at once. */
  readonly signal: AbortSignal
  readonly now?: () => number
  readonly pause?: (milliseconds: number, signal: AbortSignal) => Promise<unknown>
}

/** Milliseconds between two looks. */
const interval = 500

/**
 * Waits until no build has run for a while.
 * @returns how many builds were still running when the grace was over or the signal came; 0 when it is drained.
 */
export async function drained(options: DrainOptions): Promise<number> {
  const { running, grace, settle, signal } = options
  const now = options.now ?? (() => performance.now())
  const pause = options.pause ?? ((time, abort) => sleep(time, undefined, { signal: abort }).catch(() => undefined))
  const end = now() + grace
  let idleSince: number | undefined
  for (;;) {
    const count = await running().catch(() => undefined)
    if (count === undefined) return 0
    idleSince = count > 0 ? undefined : (idleSince ?? now())
    if (idleSince !== undefined && now() - idleSince >= settle) return 0
    if (signal.aborted || now() >= end) return count
    await pause(interval, signal)
  }
}
