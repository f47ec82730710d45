import { setTimeout as delay } from 'node:timers/promises'
import { describeError, InsituError } from '../../src/kernel/errors.ts'

export interface WaitOptions {
  /** Milliseconds. */
  readonly timeout: number
  readonly interval?: number
  readonly signal?: AbortSignal | undefined
}

/**
 * Asks until the answer is not undefined. What `probe` throws counts as "not yet", except LAB_PROCESS: a process
 * that has ended does not come back.
 * @throws InsituError LAB_TIMEOUT that names what was waited for and the last thing that went wrong.
 */
export async function waitFor<T>(
  what: string,
  probe: () => Promise<T | undefined> | T | undefined,
  { timeout, interval = 200, signal }: WaitOptions,
): Promise<T> {
  const end = Date.now() + timeout
  let last: unknown
  for (;;) {
    signal?.throwIfAborted()
    try {
      const answer = await probe()
      if (answer !== undefined) return answer
      last = undefined
    } catch (error) {
      if (error instanceof InsituError && error.code === 'LAB_PROCESS') throw error
      last = error
    }
    if (Date.now() > end) {
      const why = last === undefined ? '' : `: ${describeError(last)}`
      throw new InsituError('LAB_TIMEOUT', `waited ${Math.round(timeout / 1000)} s for ${what}${why}`)
    }
    await delay(interval)
  }
}
