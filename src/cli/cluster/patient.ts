import { setTimeout as pause } from 'node:timers/promises'
import { KubernetesError } from '../../kernel/k8s/failure.ts'

export interface PatientOptions {
  /** Milliseconds in which the API server may come back. Default 30,000. */
  readonly patience?: number
  readonly pause?: (milliseconds: number) => Promise<unknown>
  readonly now?: () => number
}

/**
 * Tries something that may be repeated (reading, deleting, applying) until the API server answers: one that restarts in the middle of
 * an installation should not leave half of it.
 */
export async function patiently<T>(work: () => Promise<T>, options: PatientOptions = {}): Promise<T> {
  const { patience = 30_000, now = Date.now } = options
  const end = now() + patience
  for (;;) {
    try {
      return await work()
    } catch (error) {
      if (!isPassing(error) || now() >= end) throw error
      await (options.pause ?? pause)(1000)
    }
  }
}

/** No answer at all, or one that says "not now". */
export const isPassing = (error: unknown): boolean =>
  error instanceof KubernetesError && (error.httpStatus === 0 || error.httpStatus === 429 || error.httpStatus >= 500)
