import { setTimeout as sleep } from 'node:timers/promises'

export interface DrainOptions {
  /**
   * How many builds run now; a rejection means that the daemon did not say so in time. One that deletes records of builds
   * answers only when it has collected its garbage.
   */
  readonly running: (timeout: number) => Promise<number>
  /** Milliseconds for running builds. */
  readonly grace: number
  /**
   * Milliseconds without a build until the node counts as drained: gateways learn that it drains a moment later, and
   * what they have placed by then is still on its way.
   */
  readonly settle: number
  /** Ends the wait at once: somebody is in a hurry, or there is no daemon any more. */
  readonly signal: AbortSignal
  readonly now?: () => number
  readonly pause?: (milliseconds: number, signal: AbortSignal) => Promise<unknown>
}

/** Milliseconds between two looks. */
const interval = 500

/** Milliseconds in which a look is answered. */
const patience = 60_000
const least = 5000

/**
 * Waits until no build has run for a while.
 * @returns how many builds were still running when the grace was over or the signal came; 0 when it is drained.
 */
export async function drained(options: DrainOptions): Promise<number> {
  const { running, grace, settle, signal } = options
  const now = options.now ?? (() => performance.now())
  const pause = options.pause ?? ((time, abort) => sleep(time, undefined, { signal: abort }).catch(() => undefined))
  const end = now() + grace
  const ordered = new Promise<undefined>((resolve) => {
    signal.addEventListener('abort', () => resolve(undefined), { once: true })
  })
  let idleSince: number | undefined
  // Until it is known how many there are, there is one.
  let count = 1
  for (;;) {
    const left = signal.aborted ? 0 : end - now()
    const look = running(Math.max(least, Math.min(patience, left))).catch(() => undefined)
    const said = await Promise.race([look, ordered])
    count = said ?? Math.max(count, 1)
    idleSince = count > 0 ? undefined : (idleSince ?? now())
    if (idleSince !== undefined && now() - idleSince >= settle) return 0
    if (signal.aborted || now() >= end) return count
    await pause(interval, signal)
  }
}
