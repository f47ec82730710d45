export interface BackoffOptions {
  /** Milliseconds before the second try in a row. Default 100. */
  readonly base?: number
  /** No wait is longer, in milliseconds. Default 30,000. */
  readonly max?: number
  /** 0 ≤ x < 1. Default Math.random. */
  readonly random?: () => number
}

export interface Backoff {
  /** Milliseconds to wait now: doubles with each call, the upper half of it at random so that clients spread out. */
  next(): number
  /** How many waits there were since the last success. */
  readonly failures: number
  reset(): void
}

export function createBackoff(options: BackoffOptions = {}): Backoff {
  const { base = 100, max = 30_000, random = Math.random } = options
  let failures = 0
  return {
    next() {
      const full = Math.min(max, base * 2 ** Math.min(failures, 30))
      failures += 1
      return (full / 2) * (1 + random())
    },
    get failures() {
      return failures
    },
    reset() {
      failures = 0
    },
  }
}
