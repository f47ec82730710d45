/** A hold on a binding. The binding is forgotten some time after the last hold is released. */
export interface Hold<T> {
  readonly value: T
  release(): void
}

/**
 * Ties ids that clients choose (refs, sessions) to what was decided for them, so that all calls of a build reach one
 * daemon although they arrive in any order and on any connection.
 */
export interface Bindings<T> {
  /**
   * Binds an id, or joins the binding there is: `decide` runs only for the first of several concurrent claims, the
   * others wait for its result. When it fails, everybody waiting gets the error, and so does who asks a little later;
   * the next claim decides anew.
   */
  claim(id: string, decide: () => Promise<T>): Promise<Hold<T>>
  /**
   * Waits until somebody claims the id and the decision is made.
   * @param patience milliseconds to wait for a claim; Infinity waits until the signal aborts.
   * @returns undefined when nobody claimed it in time or the signal aborted.
   * @throws what `decide` threw.
   */
  wait(id: string, patience: number, signal?: AbortSignal): Promise<Hold<T> | undefined>
  /** Nobody finds the binding any more. Holds of it stay as they are. */
  forget(id: string): void
  /** Ids that are bound, being decided or waited for. */
  readonly size: number
}

interface Entry<T> {
  readonly decision: Promise<T>
  failed: boolean
  holds: number
  expiry?: NodeJS.Timeout
}

/** @param linger milliseconds that a binding without holds is still found, for calls that follow a build's end. */
export function createBindings<T>({ linger }: { readonly linger: number }): Bindings<T> {
  const entries = new Map<string, Entry<T>>()
  const waiting = new Map<string, Set<(entry: Entry<T>) => void>>()

  const remove = (id: string, entry: Entry<T>): void => {
    clearTimeout(entry.expiry)
    if (entries.get(id) === entry) entries.delete(id)
  }

  const hold = async (id: string, entry: Entry<T>): Promise<Hold<T>> => {
    entry.holds++
    clearTimeout(entry.expiry)
    let held = true
    const release = (): void => {
      if (!held) return
      held = false
      if (--entry.holds > 0) return
      if (linger <= 0) return remove(id, entry)
      entry.expiry = setTimeout(() => remove(id, entry), linger).unref()
    }
    try {
      return { value: await entry.decision, release }
    } catch (error) {
      entry.failed = true
      release()
      throw error
    }
  }

  return {
    async claim(id, decide) {
      const known = entries.get(id)
      if (known && known.holds > 0 && !known.failed) return hold(id, known)
      if (known) remove(id, known)
      const entry: Entry<T> = { decision: decide(), failed: false, holds: 0 }
      entries.set(id, entry)
      for (const wake of waiting.get(id) ?? []) wake(entry)
      return hold(id, entry)
    },
    async wait(id, patience, signal) {
      const known = entries.get(id)
      if (known) return hold(id, known)
      if (signal?.aborted) return undefined
      const found = await new Promise<Entry<T> | undefined>((resolve) => {
        const waiters = waiting.get(id) ?? new Set()
        waiting.set(id, waiters)
        const settle = (entry?: Entry<T>): void => {
          clearTimeout(timer)
          signal?.removeEventListener('abort', aborted)
          waiters.delete(settle)
          if (waiters.size === 0 && waiting.get(id) === waiters) waiting.delete(id)
          // Held before anything else runs, so that a quick end of the build does not forget the binding.
          if (entry) entry.holds++
          resolve(entry)
        }
        const aborted = (): void => settle()
        const timer = patience === Infinity ? undefined : setTimeout(() => settle(), patience)
        signal?.addEventListener('abort', aborted, { once: true })
        waiters.add(settle)
      })
      if (!found) return undefined
      const held = hold(id, found)
      found.holds--
      return held
    },
    forget(id) {
      const entry = entries.get(id)
      if (entry) remove(id, entry)
    },
    get size() {
      return entries.size + waiting.size
    },
  }
}
