/** Connections whose peer has not yet said who it is or what it speaks. */
export interface Handshakes {
  readonly count: number
  /** A stage has begun. @returns a function to call, once or more often, when it is over. */
  begins(): () => void
  /** TLS begins, and ends one way or the other. */
  securing(): void
  secured(): void
}

export function countHandshakes(): Handshakes {
  let count = 0
  return {
    get count() {
      return count
    },
    begins() {
      count++
      let over = false
      return () => {
        if (!over) count--
        over = true
      }
    },
    securing: () => void count++,
    secured: () => void count--,
  }
}
