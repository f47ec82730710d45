/** Random choices that a seed repeats (mulberry32). */
export interface Random {
  /** From 0 up to but without `below`. */
  int(below: number): number
  chance(share: number): boolean
  pick<T>(from: readonly T[]): T
  bytes(length: number): Buffer
}

export function createRandom(seed: number): Random {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const int = (below: number): number => Math.floor(next() * below)
  return {
    int,
    chance: (share) => next() < share,
    pick: (from) => from[int(from.length)]!,
    bytes(length) {
      const bytes = Buffer.allocUnsafe(length)
      for (let i = 0; i < length; i++) bytes[i] = int(256)
      return bytes
    },
  }
}

/** Damages bytes in the ways of broken and of hostile senders. */
export function damaged(random: Random, bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes)
  switch (random.int(5)) {
    case 0:
      for (let n = random.int(4); n >= 0 && copy.length > 0; n--) copy[random.int(copy.length)] = random.int(256)
      return copy
    case 1:
      return copy.subarray(0, random.int(copy.length + 1))
    case 2:
      return Buffer.concat([copy.subarray(0, random.int(copy.length + 1)), random.bytes(random.int(40)), copy])
    case 3:
      if (copy.length > 0) copy[random.int(copy.length)]! ^= 1 << random.int(8)
      return copy
    default:
      return copy
  }
}
