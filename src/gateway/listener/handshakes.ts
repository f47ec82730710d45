/** Connections whose peer has not yet said who it is or what it speaks. */
export interface Handshakes {
  /**
   * Whether there is room for one more of this address. Where there is none, an address that has more of them open than
   * this one gives up its oldest: who fills the room keeps nobody else out. A proxy may be the address of many clients, so
   * one alone may have all the room.
   */
  admits(address: string): boolean
  /**
   * A stage has begun.
   * @param drop ends the connection when others need its place.
   * @returns a function to call, once or more often, when the stage is over.
   */
  begins(address: string, drop: () => void): () => void
}

interface Stage {
  readonly drop: () => void
  readonly over: () => void
}

/** @param most so many at once. */
export function limitHandshakes(most: number): Handshakes {
  /** How to end each, the oldest first, by address. */
  const pending = new Map<string, Set<Stage>>()
  let count = 0
  return {
    admits(address) {
      if (count < most) return true
      const own = pending.get(address)?.size ?? 0
      let fullest: Set<Stage> | undefined
      for (const some of pending.values()) if (some.size > (fullest?.size ?? own)) fullest = some
      const [oldest] = fullest ?? []
      oldest?.over()
      oldest?.drop()
      return oldest !== undefined
    },
    begins(address, drop) {
      const over = (): void => {
        const some = pending.get(address)
        if (!some?.delete(one)) return
        count -= 1
        if (some.size === 0) pending.delete(address)
      }
      const one = { drop, over }
      const some = pending.get(address)
      if (some) some.add(one)
      else pending.set(address, new Set([one]))
      count += 1
      return over
    },
  }
}
