import { type Backoff, createBackoff } from '../../kernel/k8s/backoff.ts'

/** Which of the things that failed may be tried again, each after a pause that grows. */
export interface Retries {
  isDue(key: string): boolean
  failed(key: string): void
  worked(key: string): void
  /** Forgets all others. */
  keep(keys: ReadonlySet<string>): void
}

/** @param now milliseconds. */
export function createRetries(now: () => number = () => performance.now()): Retries {
  const known = new Map<string, { readonly backoff: Backoff; until: number }>()
  return {
    isDue: (key) => (known.get(key)?.until ?? 0) <= now(),
    failed(key) {
      const one = known.get(key) ?? { backoff: createBackoff({ base: 10_000, max: 3_600_000 }), until: 0 }
      one.until = now() + one.backoff.next()
      known.set(key, one)
    },
    worked: (key) => void known.delete(key),
    keep(keys) {
      for (const key of known.keys()) if (!keys.has(key)) known.delete(key)
    },
  }
}
