import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
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

function flag(args: readonly string[], name: string): string | undefined {
  const at = args.findLastIndex((arg) => arg === `--${name}` || arg.startsWith(`--${name}=`))
  if (at < 0) return undefined
  return args[at]?.includes('=') ? args[at].slice(name.length + 3) : args[at + 1]
}

/**
 * The thresholds of the kubelet that runs on this machine, from its process' command line and the files it names. The
 * defaults where there is none, or where it is part of another program (k3s, rke2) that was not told otherwise.
 * @param proc the node's /proc, seen with hostPID.
 */
export async function kubeletThresholds(proc = '/proc'): Promise<KubeletThresholds> {
  for (const pid of (await readdir(proc).catch(() => [])).filter((name) => /^\d+$/.test(name))) {
    const [program, ...args] = (await readFile(join(proc, pid, 'cmdline'), 'utf8').catch(() => '')).split('\0')
    if (!program?.endsWith('kubelet')) continue
    const onHost = (path: string): string => join(proc, pid, 'root', path)
    const file = flag(args, 'config')
    const folder = flag(args, 'config-dir')
    const dropIns = folder === undefined ? [] : await readdir(onHost(folder)).catch(() => [])
    const files = [
      ...(file === undefined ? [] : [file]),
      ...dropIns
        .filter((name) => name.endsWith('.conf'))
        .sort()
        .map((name) => join(folder ?? '', name)),
    ]
    const texts = await Promise.all(files.map((path) => readFile(onHost(path), 'utf8').catch(() => '')))
    return thresholds([...(await parseAll(texts)), fromFlags(args)])
  }
  return kubeletDefaults
}

async function parseAll(texts: readonly string[]): Promise<KubeletDiskConfig[]> {
  // YAML's parser is needed once: it does not have to stay in an agent that finds no kubelet.
  const { parseYaml } = await import('../../kernel/k8s/yaml.ts')
  return texts.map((text) => {
    try {
      const [value] = parseYaml(text)
      return typeof value === 'object' && value !== null ? value : {}
    } catch {
      return {}
    }
  })
}
