import { pushImage } from '../../integration/fixtures/counted-registry.ts'
import { sketchImage } from '../../integration/fixtures/oci-image.ts'
import type { BenchOptions } from '../benches.ts'
import { link } from '../link.ts'
import { type Measurement, median } from '../report.ts'
import { domain, type Setting } from './setting.ts'

export const [without, withMirror] = ['without mirror', 'with mirror'] as const
const layers = 4

/**
 * Ordinary pulls of images of four layers, with and without the mirror in front, in pairs whose order alternates. No byte
 * of an ordinary image passes the mirror, so what it adds does not depend on the size: it is measured exactly with many
 * pulls of a small image, and put beside the time that the big one takes, from a registry on this machine and over a link.
 */
export async function measurePulls(
  setting: Setting,
  { runs, size, progress }: Pick<BenchOptions, 'runs' | 'size' | 'progress'>,
): Promise<Measurement[]> {
  progress('images')
  const push = async (name: string, bytes: number): Promise<string> => {
    const image = await sketchImage(setting.node.directory, name, {
      layers: Array.from({ length: layers }, () => bytes),
    })
    await pushImage(setting.registry.address, name, 'v1', image)
    return `${domain}/${name}:v1`
  }
  const small = await measurePairs(setting, await push('small', 20_000), 20 * runs, progress)
  const name = await push('big', (size << 20) / layers)
  const big = await measurePairs(setting, name, runs, progress)
  const unlimited = await setting.limit(link)
  const far = await measurePairs(setting, name, runs, progress)
  await unlimited()
  return [
    ...rows('pull, small image', 'ms', small.pairs),
    ...rows('pull, small image, processor time of containerd and mirror', 'ms', [small.processor]),
    ...share(`pull, ${size} MiB`, small.pairs, big.pairs, progress),
    ...share(`pull, ${size} MiB at ${link / 1000} Gbit/s`, small.pairs, far.pairs, progress),
  ]
}

/** Milliseconds. */
export type Pair = readonly [plain: number, mirrored: number]

/** What the mirror adds, as many pulls of a small image say, beside what pulls of a big one take. */
export function share(
  title: string,
  small: readonly Pair[],
  big: readonly Pair[],
  progress: BenchOptions['progress'],
): Measurement[] {
  const added = small.map(([plain, mirrored]) => mirrored - plain)
  const [low, high] = interval(added)
  progress(
    `${title}: the mirror adds ${median(added).toFixed(2)} ms; with 95 % confidence ${low.toFixed(2)} to ${high.toFixed(2)}`,
  )
  const whole = median(big.map(([plain]) => plain))
  return [
    ...rows(title, 'ms', big),
    {
      ...{ case: `${title}, what the mirror adds, low, median, high`, subject: withMirror, unit: '%' },
      values: [low, median(added), high].map((milliseconds) => (100 * milliseconds) / whole),
    },
  ]
}

async function measurePairs(setting: Setting, name: string, count: number, progress: BenchOptions['progress']) {
  const processor = { [without]: 0, [withMirror]: 0 }
  const pairs = await inPairs(name, count, progress, async (mirror, counts) => {
    await setting.configure(mirror)
    const before = await setting.processor()
    const begun = performance.now()
    await setting.pull(name)
    const took = performance.now() - begun
    const after = await setting.processor()
    const used = after.containerd - before.containerd + (mirror ? after.mirror - before.mirror : 0)
    if (counts) processor[mirror ? withMirror : without] += used / count
    await setting.drop(name)
    return took
  })
  return { pairs, processor: [processor[without], processor[withMirror]] as const }
}

/** In alternating order; the first pair warms caches and connections, and does not count. `pull` gives milliseconds. */
export async function inPairs(
  name: string,
  count: number,
  progress: BenchOptions['progress'],
  pull: (mirror: boolean, counts: boolean) => Promise<number>,
): Promise<readonly Pair[]> {
  const pairs: Pair[] = []
  let said = Date.now()
  for (let i = -1; i < count; i += 1) {
    const took = new Map<boolean, number>()
    for (const mirror of i % 2 === 0 ? [false, true] : [true, false]) took.set(mirror, await pull(mirror, i >= 0))
    if (i >= 0) pairs.push([took.get(false) ?? Number.NaN, took.get(true) ?? Number.NaN])
    if (Date.now() - said < 10_000) continue
    said = Date.now()
    progress(`${name}: ${i + 1} of ${count} pairs`)
  }
  return pairs
}

export const rows = (name: string, unit: string, pairs: readonly Pair[]): Measurement[] => [
  { case: name, subject: without, unit, values: pairs.map(([plain]) => plain) },
  { case: name, subject: withMirror, unit, values: pairs.map(([, mirrored]) => mirrored) },
]

/** Where the median is with 95 % confidence, by order statistics: nothing is assumed of how the values are spread. */
function interval(values: readonly number[]): readonly [number, number] {
  const sorted = values.toSorted((a, b) => a - b)
  const half = 0.98 * Math.sqrt(sorted.length)
  const at = (i: number): number => sorted[Math.min(sorted.length - 1, Math.max(0, i))] ?? Number.NaN
  return [at(Math.floor(sorted.length / 2 - half)), at(Math.ceil(sorted.length / 2 + half))]
}
