/** Bodies of strangers that are read at the same time … */
const most = 256
/** … of one address: it should not take all of them … */
const mostOfAddress = 16
/** … and of one connection. */
const mostOfConnection = 4

/** Who may have a body read. What comes in one is kept in memory, and who sends it may be a stranger. */
export interface BodyPlaces {
  /** @returns a function to call once, when the body was read; undefined when there is no room. */
  take(connection: object, address: string): (() => void) | undefined
}

export function createBodyPlaces(): BodyPlaces {
  const taken = new Map<unknown, number>()
  const everybody = {}
  const add = (who: unknown, change: number): void => {
    const count = (taken.get(who) ?? 0) + change
    if (count === 0) taken.delete(who)
    else taken.set(who, count)
  }
  return {
    take(connection, address) {
      const shares = [
        [everybody, most],
        [address, mostOfAddress],
        [connection, mostOfConnection],
      ] as const
      if (shares.some(([who, limit]) => (taken.get(who) ?? 0) >= limit)) return undefined
      for (const [who] of shares) add(who, 1)
      return () => {
        for (const [who] of shares) add(who, -1)
      }
    },
  }
}
