/** How fast bytes came from other nodes, which decides whether compressing a plain layer pays. */
export interface Links {
  /** Bytes and milliseconds of a transfer that was not compressed. */
  measured(node: string, bytes: number, milliseconds: number): void
  isSlow(node: string): boolean
}

/** Bytes per second. One core compresses faster than this and hardly faster than twice of it. */
const threshold = 150e6
/** Shorter transfers measure latency. */
const enough = 4 << 20
/** Milliseconds after which a link is measured again. */
const memory = 600_000

export function createLinks(now: () => number = Date.now): Links {
  const rates = new Map<string, { rate: number; until: number }>()
  return {
    measured(node, bytes, milliseconds) {
      if (bytes < enough) return
      rates.set(node, { rate: (bytes * 1000) / Math.max(milliseconds, 1), until: now() + memory })
    },
    isSlow(node) {
      const known = rates.get(node)
      return known !== undefined && known.until > now() && known.rate < threshold
    },
  }
}
