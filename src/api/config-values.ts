import { InsituError } from '../kernel/errors.ts'

/** A table of a parsed insitu.toml. */
export type Table = Readonly<Record<string, unknown>>

const roles = ['gateway', 'agent', 'controller']

/** The table of one role. Those of the others are theirs to read; what is nobody's is a mistake that every role refuses. */
export function roleTable(file: Table, role: string, keys: readonly string[]): Table {
  const unknown = Object.keys(file).find((key) => !roles.includes(key))
  if (unknown !== undefined) throw noKey(unknown, roles)
  return section(file[role], role, keys)
}

/** A table of which only these keys may be set. @throws InsituError CONFIG_KEY, CONFIG_VALUE with the key's full name, as all below. */
export function section(value: unknown, name: string, keys: readonly string[]): Table {
  if (value === undefined) return {}
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(name, 'a table')
  const unknown = Object.keys(value).find((key) => !keys.includes(key))
  if (unknown !== undefined) throw noKey(`${name}.${unknown}`, keys)
  return value as Table
}

const noKey = (name: string, known: readonly string[]): InsituError =>
  new InsituError('CONFIG_KEY', `insitu.toml: there is no key ${name}`, {
    status: 'INVALID_ARGUMENT',
    fix: `remove it, or use one of ${known.join(', ')}`,
  })

export function bool(value: unknown, name: string, fallback: boolean): boolean {
  if (value === undefined) return fallback
  if (typeof value !== 'boolean') throw wrong(name, 'true or false')
  return value
}

export function texts(
  value: unknown,
  name: string,
  fallback: readonly string[],
  rule: { test: (text: string) => boolean; what: string },
): readonly string[] {
  if (value === undefined) return fallback
  if (!Array.isArray(value) || !value.every((v): v is string => typeof v === 'string' && rule.test(v))) {
    throw wrong(name, `a list of ${rule.what}`)
  }
  return value
}

const seconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 }

/** Seconds of an age such as `"720h"`, which nobody sets a timer to. */
export function age(value: unknown, name: string, fallback: number): number {
  if (value === undefined) return fallback
  const match = typeof value === 'string' ? /^(\d{1,6})([smh])$/.exec(value) : null
  if (!match) throw wrong(name, 'a duration such as "90s", "30m" or "2h"')
  return Number(match[1]) * (seconds[match[2] as string] as number)
}

/** Hours that a timer can take: Node's take 2^31-1 milliseconds, and are over at once when they get more. */
const mostHours = Math.floor((2 ** 31 - 1) / 3_600_000)

/** Seconds of a duration such as `"30m"`. */
export function duration(value: unknown, name: string, fallback: number): number {
  const read = age(value, name, fallback)
  if (read > mostHours * 3600) throw wrong(name, `a duration of at most "${mostHours}h"`)
  return read
}

/** A whole number from 1. */
export function count(value: unknown, name: string, fallback: number): number {
  if (value === undefined) return fallback
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 1) throw wrong(name, 'a whole number from 1')
  return value
}

export const wrong = (name: string, what: string): InsituError =>
  new InsituError('CONFIG_VALUE', `insitu.toml: ${name} must be ${what}`, { status: 'INVALID_ARGUMENT' })

/** A percentage from 1 to 99; undefined when it is not set. */
export function percent(value: unknown, name: string): number | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'number' || !(value >= 1 && value <= 99)) throw wrong(name, 'a percentage from 1 to 99')
  return value
}

const sizes: Readonly<Record<string, number>> = { B: 1, kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 }
const binarySizes: Readonly<Record<string, number>> = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 }

/** Bytes of a size such as `"20GB"` or `"20GiB"`; undefined when it is not set. */
export function size(value: unknown, name: string): number | undefined {
  if (value === undefined) return undefined
  const [, number, unit = ''] = (typeof value === 'string' && /^(\d+(?:\.\d+)?) ?([kKMGT]?i?B)$/.exec(value)) || []
  const factor = sizes[unit] ?? binarySizes[unit]
  if (number === undefined || factor === undefined) throw wrong(name, 'a size such as "20GB" or "20GiB"')
  return Math.floor(Number(number) * factor)
}
