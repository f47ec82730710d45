import { setTimeout as sleep } from 'node:timers/promises'
import type { HttpAnswer } from '../../kernel/http/answer.ts'

/** Milliseconds before another try, as BuildKit waits that pushes the parts: v0.33.1, util/resolver/retryhandler. */
const waits = [1000, 2000, 4000]

const brokenOff = new Set(['ECONNRESET', 'ECONNABORTED', 'EPIPE', 'ETIMEDOUT', 'EAI_AGAIN'])

/**
 * Asks a registry, and asks again what may go better in a moment.
 * @returns its last answer. Rejects with the last error; when the signal aborts while it waits, with an AbortError.
 */
export async function tryAgain(ask: () => Promise<HttpAnswer>, signal: AbortSignal): Promise<HttpAnswer> {
  for (const wait of waits) {
    try {
      const answer = await ask()
      if (answer.status < 500 && answer.status !== 429) return answer
    } catch (error) {
      if (signal.aborted || !isBrokenOff(error)) throw error
    }
    await sleep(wait, undefined, { signal })
  }
  return ask()
}

const isBrokenOff = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && brokenOff.has(String(error.code))
