/** Why builds that pulls waited for have failed. */
export interface Failures {
  /** @returns the reason. */
  note(name: string, reason: string): string
  of(name: string): string | undefined
}

/** Milliseconds: containerd asks with HEAD, and for the message behind a 403 once more with GET. */
const memory = 3000

export function createFailures(now: () => number = Date.now): Failures {
  const known = new Map<string, { reason: string; until: number }>()
  return {
    note(name, reason) {
      for (const [key, { until }] of known) if (until < now()) known.delete(key)
      known.set(name, { reason, until: now() + memory })
      return reason
    },
    of(name) {
      const found = known.get(name)
      return found && found.until >= now() ? found.reason : undefined
    },
  }
}
