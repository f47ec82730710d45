import { flag, kubeletSettings } from '../host/kubelet.ts'
import { kubeletDefaults, type KubeletThresholds, type Quantity } from './limits.ts'

/** What the kubelet's configuration says about disks, as its files and flags do; absent keys are undefined. */
export interface KubeletDiskConfig {
  readonly imageGCHighThresholdPercent?: unknown
  readonly evictionHard?: Readonly<Record<string, unknown>>
}

/** Turns what was found into thresholds; later sources win, as in the kubelet. Nonsense falls back to the defaults. */
export function thresholds(sources: readonly KubeletDiskConfig[]): KubeletThresholds {
  const last = <T>(values: readonly (T | undefined)[]): T | undefined => values.findLast((value) => value !== undefined)
  const percent = Number(last(sources.map((source) => source.imageGCHighThresholdPercent)) ?? Number.NaN)
  // An evictionHard replaces the defaults as a whole: signals that it leaves out have no threshold.
  const hard = last(sources.map((source) => source.evictionHard))
  const of = (signals: readonly string[], fallback: readonly Quantity[]): readonly Quantity[] =>
    hard === undefined ? fallback : signals.flatMap((signal) => quantity(hard[signal]) ?? [])
  return {
    imageGcHigh: percent > 0 && percent <= 100 ? percent / 100 : kubeletDefaults.imageGcHigh,
    freeBytes: of(['nodefs.available', 'imagefs.available'], kubeletDefaults.freeBytes),
    freeInodes: of(['nodefs.inodesFree', 'imagefs.inodesFree'], kubeletDefaults.freeInodes),
  }
}

const units: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
}

/** `10%`, `1Gi`, `500000` as evictionHard writes them. */
function quantity(value: unknown): Quantity | undefined {
  const [, number, unit = ''] =
    /^(\d+(?:\.\d+)?)(%|[kMGT]i?|Ki)?$/.exec(
      typeof value === 'number' ? `${value}` : typeof value === 'string' ? value : '',
    ) ?? []
  if (number === undefined) return undefined
  return unit === '%' ? { share: Number(number) / 100 } : { count: Number(number) * (units[unit] ?? 1) }
}

/** The disk flags of a kubelet's command line: `--eviction-hard=imagefs.available<15%,…`. */
export function fromFlags(args: readonly string[]): KubeletDiskConfig {
  const hard = flag(args, 'eviction-hard')
  const high = flag(args, 'image-gc-high-threshold')
  return {
    ...(high === undefined ? {} : { imageGCHighThresholdPercent: high }),
    ...(hard === undefined
      ? {}
      : { evictionHard: Object.fromEntries(hard.split(',').map((term) => term.split('<', 2).map((s) => s.trim()))) }),
  }
}

/**
 * The thresholds of the kubelet that runs on this machine. The defaults where there is none, or where it is part of
 * another program (k3s, microk8s) that was not told otherwise.
 */
export async function kubeletThresholds(): Promise<KubeletThresholds> {
  const kubelet = await kubeletSettings()
  return kubelet ? thresholds([...kubelet.files, fromFlags(kubelet.args)]) : kubeletDefaults
}
