import { readFile } from 'node:fs/promises'

interface Sample {
  readonly at: number
  readonly idle: number
  readonly all: number
}

/** How busy the processors of this machine are, looked at all the time, so that it can be asked for any span. */
export interface Processors {
  /** Percent, from one time to another, as `performance.now()` counts. */
  busy(from: number, to: number): number
  stop(): void
}

/** @param interval milliseconds. */
export async function watchProcessors(interval = 100): Promise<Processors> {
  const samples: Sample[] = [await sample()]
  const timer = setInterval(() => void sample().then((one) => samples.push(one)), interval)
  timer.unref()
  return {
    busy(from, to) {
      const first = samples.findLast(({ at }) => at <= from) ?? samples[0]
      const last = samples.find(({ at }) => at >= to) ?? samples.at(-1)
      if (!first || !last || last.all === first.all) return Number.NaN
      return 100 * (1 - (last.idle - first.idle) / (last.all - first.all))
    },
    stop: () => clearInterval(timer),
  }
}

/** proc_stat(5): the fourth and fifth numbers are idle time, with and without waiting for a disk. */
async function sample(): Promise<Sample> {
  const [line = ''] = (await readFile('/proc/stat', 'utf8')).split('\n')
  const ticks = line.split(/\s+/).slice(1, 9).map(Number)
  return { at: performance.now(), idle: (ticks[3] ?? 0) + (ticks[4] ?? 0), all: ticks.reduce((a, b) => a + b, 0) }
}
