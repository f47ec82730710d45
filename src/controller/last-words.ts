import type { PodView } from './view.ts'

/** Milliseconds: many looks, and what a controller that is busy with a thousand others may be late. */
const kept = 300_000

/** What pods said that are gone since. */
export interface LastWords {
  /** @param key `namespace/name` */
  keep(key: string, pod: PodView): void
  /** By `namespace/name`, as pods that have ended. */
  readonly pods: ReadonlyMap<string, PodView>
}

/**
 * A pod that is told to end says what it has pushed, and is deleted a moment later: both may come between two looks. It is
 * nothing that must be known: a controller that dies in that moment loses it.
 */
export function createLastWords(now: () => number = Date.now): LastWords {
  const all = new Map<string, { readonly pod: PodView; readonly at: number }>()
  const forget = (): void => {
    for (const [key, { at }] of all) if (at + kept < now()) all.delete(key)
  }
  return {
    keep(key, pod) {
      forget()
      if (pod.outcome !== undefined) all.set(key, { pod, at: now() })
    },
    get pods() {
      forget()
      return new Map([...all].map(([key, { pod }]) => [key, ended(pod)]))
    },
  }
}

/** Nothing runs in it and nobody waits for its end, whatever was seen of it last. */
const ended = (pod: PodView): PodView => ({
  ...pod,
  ...{ phase: pod.phase === 'Succeeded' ? 'Succeeded' : 'Failed', endsAt: undefined },
  ...{ live: false, building: false, waiting: undefined, running: [] },
})
