import { flag, kubeletSettings } from '../host/kubelet.ts'
import { kubeletDefaults, type KubeletThresholds, type Quantity } from './limits.ts'

/** What the kubelet's configuration says about disks, as its files and flags do; absent keys are undefined. */
export interface KubeletDiskConfig {
  readonly imageGCHighThresholdPercent?: unknown
  readonly evictionHard?: unknown
  readonly mergeDefaultEvictionSettings?: unknown
}

type Signals = Readonly<Record<string, unknown>>

/** DefaultEvictionHard of the kubelet's pkg/kubelet/eviction/defaults_linux.go, as far as it is about disks. */
const defaultHard: Signals = {
  'nodefs.available': '10%',
  'nodefs.inodesFree': '5%',
  'imagefs.available': '15%',
  'imagefs.inodesFree': '5%',
}

/**
 * Turns what was found into thresholds as the kubelet does. Nonsense falls back to the defaults.
 * @param files its configuration file, then its drop-ins in their order.
 */
export function thresholds(files: readonly KubeletDiskConfig[], flags: KubeletDiskConfig = {}): KubeletThresholds {
  const high = [...files, flags].map((source) => source.imageGCHighThresholdPercent).findLast((v) => v !== undefined)
  const percent = Number(high ?? Number.NaN)
  const hard = asSignals(flags.evictionHard) ?? hardOf(files)
  const of = (signals: readonly string[]): readonly Quantity[] =>
    signals.flatMap((signal) => quantity(hard[signal]) ?? [])
  return {
    imageGcHigh: percent > 0 && percent <= 100 ? percent / 100 : kubeletDefaults.imageGcHigh,
    freeBytes: of(['nodefs.available', 'imagefs.available']),
    freeInodes: of(['nodefs.inodesFree', 'imagefs.inodesFree']),
  }
}

/**
 * The file's signals replace the defaults as a whole: those that it leaves out have no threshold. Drop-ins are JSON merge
 * patches of them, signal by signal; null takes away (mergeKubeletConfigurations in the kubelet's cmd/kubelet/app).
 */
function hardOf([file = {}, ...dropIns]: readonly KubeletDiskConfig[]): Signals {
  const own = asSignals(file.evictionHard)
  let hard = own && file.mergeDefaultEvictionSettings !== true ? own : { ...defaultHard, ...own }
  for (const { evictionHard } of dropIns) hard = evictionHard === null ? {} : { ...hard, ...asSignals(evictionHard) }
  return hard
}

const asSignals = (value: unknown): Signals | undefined =>
  typeof value === 'object' && value !== null ? (value as Signals) : undefined

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

/** `10%`, `1Gi`, `500000` as evictionHard writes them; 0 and 100 percent switch a signal off. */
function quantity(value: unknown): Quantity | undefined {
  const [, number, unit = ''] =
    /^(\d+(?:\.\d+)?)(%|[kMGT]i?|Ki)?$/.exec(
      typeof value === 'number' ? `${value}` : typeof value === 'string' ? value : '',
    ) ?? []
  if (number === undefined) return undefined
  if (unit === '%') return ['0', '100'].includes(number) ? undefined : { share: Number(number) / 100 }
  return { count: Number(number) * (units[unit] ?? 1) }
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
  return kubelet ? thresholds(kubelet.files, fromFlags(kubelet.args)) : kubeletDefaults
}
