/** A bucket of tokens for each identity: full at first, and refilled evenly. */
export interface RateLimit {
  /**
   * Takes a token.
   * @param perMinute how many an identity gets in a minute, and how many it may save up; 0 is no limit.
   * @returns 0, or the milliseconds until there is one again.
   */
  take(identity: string, perMinute: number): number
}

interface Bucket {
  tokens: number
  /** Milliseconds. */
  at: number
}

/** Identities are few, but addresses are not: full buckets are forgotten when there are so many. */
const most = 10_000

export function createRateLimit(now: () => number = () => performance.now()): RateLimit {
  const buckets = new Map<string, Bucket>()
  return {
    take(identity, perMinute) {
      if (perMinute === 0) return 0
      const time = now()
      const rate = perMinute / 60_000
      const known = buckets.get(identity)
      const bucket = known ?? { tokens: perMinute, at: time }
      bucket.tokens = Math.min(perMinute, bucket.tokens + (time - bucket.at) * rate)
      bucket.at = time
      if (!known) {
        if (buckets.size >= most) forget(buckets, time)
        buckets.set(identity, bucket)
      }
      if (bucket.tokens < 1) return Math.ceil((1 - bucket.tokens) / rate)
      bucket.tokens -= 1
      return 0
    },
  }
}

/** Those of the last minute stay: older ones are full again, whatever their rate. */
function forget(buckets: Map<string, Bucket>, time: number): void {
  for (const [identity, { at }] of buckets) if (time - at > 60_000) buckets.delete(identity)
}
