export interface BackoffOptions {
  /** Milliseconds before the first retry. Default 500. */
  readonly first?: number
  /** Milliseconds, the longest wait. Default 30,000. */
  readonly cap?: number
  /** 0 to 1, exclusive; injected for tests. */
  readonly random?: () => number
}

/**
 * Milliseconds to wait after the n-th failure in a row (from 1): doubled each time, capped, and drawn from the upper
 * half so that many nodes do not retry in step.
 */
export function backoff(failures: number, options: BackoffOptions = {}): number {
  const full = Math.min(options.cap ?? 30_000, (options.first ?? 500) * 2 ** Math.max(0, failures - 1))
  return full / 2 + ((options.random ?? Math.random)() * full) / 2
}
