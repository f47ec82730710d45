import { link } from './link.ts'
import { nodeLines } from './node-lines.ts'

/** What a node has sent, looked at all the time, so that it can be asked for any span. */
export interface SentBytes {
  /**
   * Percent of the link while it was in use between two times, as `performance.now()` counts: of the time in which all but
   * the first and the last hundredth of what was sent in between left.
   */
  share(from: number, to: number): number
  stop(): Promise<unknown>
}

/** @param node of the lab; its link is that of `eth0`. */
export async function watchSent(node: string): Promise<SentBytes> {
  const samples: { at: number; bytes: number }[] = []
  const onLine = (line: string): void => {
    const [name, ...counters] = line.trim().split(/[:\s]+/)
    if (name === 'eth0') samples.push({ at: performance.now(), bytes: Number(counters[8]) })
  }
  const child = await nodeLines(node, ['sh', '-c', 'while sleep 0.1; do cat /proc/net/dev; done'], onLine)
  return {
    share(from, to) {
      const within = samples.filter(({ at }) => at >= from && at <= to)
      const [before, after] = [within[0]?.bytes ?? 0, within.at(-1)?.bytes ?? 0]
      const at = (part: number) => within.find(({ bytes }) => bytes - before >= (after - before) * part)
      const [first, last] = [at(0.01), at(0.99)]
      if (!first || !last || last.at === first.at) return Number.NaN
      return ((last.bytes - first.bytes) * 8 * 100) / ((last.at - first.at) * 1000 * link)
    },
    stop: () => child.stop(1000),
  }
}
