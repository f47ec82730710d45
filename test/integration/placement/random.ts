/** Random choices that a seed repeats. */
export interface Random {
  /** 0 ≤ x < n */
  below(n: number): number
  chance(probability: number): boolean
  pick<T>(values: readonly T[]): T
  /** Each value with this probability. */
  some<T>(values: readonly T[], probability: number): T[]
}

/** Mulberry32 (public domain). */
export function createRandom(seed: number): Random {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (n: number): number => Math.floor(next() * n)
  return {
    below,
    chance: (probability) => next() < probability,
    pick: (values) => values[below(values.length)] as (typeof values)[number],
    some: (values, probability) => values.filter(() => next() < probability),
  }
}
