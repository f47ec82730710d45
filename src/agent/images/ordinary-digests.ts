import type { Keeper } from './keeper.ts'

export interface OrdinaryDigests {
  /** What the names of images that insitu did not build point to. */
  readonly list: () => readonly string[]
  stop(): void
}

export interface OrdinaryDigestsOptions {
  readonly keeper: Pick<Keeper, 'current' | 'memory'>
  /** Told that the list has changed; pulls of one moment are told once. */
  readonly onChange: () => void
  /** Milliseconds between two looks. Default 3,000. */
  readonly interval?: number
}

/** The images of a node that other nodes may get from it, where the mirror serves all. */
export function followOrdinary({ keeper, onChange, interval = 3000 }: OrdinaryDigestsOptions): OrdinaryDigests {
  const { current, memory } = keeper
  const list = (): readonly string[] => {
    const built = new Set([...memory.records.values()].map(({ digest }) => digest))
    const others = [...current.values()].map(({ digest }) => digest).filter((digest) => !built.has(digest))
    return [...new Set(others)].toSorted()
  }
  let last = list().join()
  const timer = setInterval(() => {
    const now = list().join()
    if (now === last) return
    last = now
    onChange()
  }, interval).unref()
  return { list, stop: () => clearInterval(timer) }
}
