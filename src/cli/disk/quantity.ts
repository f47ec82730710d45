import { UsageError } from '../../kernel/errors.ts'

const steps = ['B', 'kB', 'MB', 'GB', 'TB'] as const

/** Bytes for people, in powers of 1000, as BuildKit and Docker print them: 1.5 GB. */
export function formatBytes(bytes: number): string {
  let [value, step] = [Math.abs(bytes), 0]
  while (value >= 999.5 && step < steps.length - 1) {
    value /= 1000
    step += 1
  }
  const digits = step === 0 || value >= 9.95 ? 0 : 1
  return `${bytes < 0 ? '-' : ''}${value.toFixed(digits)} ${steps[step]}`
}

const units: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 1e3,
  kb: 1e3,
  m: 1e6,
  mb: 1e6,
  g: 1e9,
  gb: 1e9,
  t: 1e12,
  tb: 1e12,
  ki: 2 ** 10,
  kib: 2 ** 10,
  mi: 2 ** 20,
  mib: 2 ** 20,
  gi: 2 ** 30,
  gib: 2 ** 30,
  ti: 2 ** 40,
  tib: 2 ** 40,
}

/** `500MB`, `10GiB`, `1.5g` → bytes. @throws UsageError */
export function parseBytes(text: string): number {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text) ?? []
  const factor = units[unit.toLowerCase()]
  if (number === undefined || factor === undefined) {
    throw new UsageError(`"${text}" is not a size`, { fix: 'write 500MB, 10GB or 10GiB' })
  }
  return Math.floor(Number(number) * factor)
}

const ages: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** `90s`, `30m`, `24h`, `7d` → milliseconds. @throws UsageError */
export function parseAge(text: string): number {
  const [, number, unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? []
  const factor = ages[unit]
  if (number === undefined || factor === undefined) {
    throw new UsageError(`"${text}" is not a duration`, { fix: 'write 90s, 30m, 24h or 7d' })
  }
  return Number(number) * factor
}
