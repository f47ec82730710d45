/**
 * Whose records were deleted a moment ago. A build that ran on several nodes has a record on each, all of one ref: the
 * first delete of it removes them all, and a client that deletes what it has listed comes again.
 */
export interface Deleted {
  note(owner: string, ref: string): void
  has(owner: string, ref: string): boolean
}

/** @param moment milliseconds for which a delete is remembered; one that is beyond the limit for less. */
export function createDeleted({ moment = 60_000, limit = 10_000, now = () => performance.now() } = {}): Deleted {
  /** When each is forgotten, the first one first. */
  const until = new Map<string, number>()
  const key = (owner: string, ref: string): string => `${owner}\0${ref}`
  return {
    note(owner, ref) {
      const id = key(owner, ref)
      until.delete(id)
      until.set(id, now() + moment)
      for (const [oldest, end] of until) {
        if (end > now() && until.size <= limit) break
        until.delete(oldest)
      }
    },
    has: (owner, ref) => (until.get(key(owner, ref)) ?? 0) > now(),
  }
}
