import { lineOf, type TomlTable, type TomlValue } from '../../kernel/config/toml.ts'
import { buildkitdKeys, type Kind, ownKeys, type Schema } from './known-keys.ts'
import type { Finding } from '../../api/node-report.ts'

/** Every key that buildkitd would not read, and every value of a kind it cannot read, with its line. */
export function checkKeys(table: TomlTable, text: string, schema: Schema = buildkitdKeys): Finding[] {
  const findings: Finding[] = []
  const where = (path: readonly string[]): string => {
    const line = lineOf(text, path)
    return line === undefined ? 'buildkitd.toml' : `buildkitd.toml line ${line}`
  }

  const visitTable = (value: TomlTable, keys: Schema, path: readonly string[]): void => {
    for (const [key, child] of Object.entries(value)) {
      const here = [...path, key]
      if (child === undefined || ownKeys.some((own) => own.join('\0') === here.join('\0'))) continue
      const kind = Object.hasOwn(keys, key) ? keys[key] : undefined
      if (kind === undefined) findings.push(unknownKey(here, keys, where(here)))
      else visit(child, kind, here)
    }
  }

  const visit = (value: TomlValue, kind: Kind, path: readonly string[]): void => {
    const wrong = (expected: string): void => {
      findings.push({
        code: 'CONFIG_TYPE',
        severity: 'fatal',
        message: `${where(path)}: ${show(path)} must be ${expected}`,
        fix: 'correct the value in the ConfigMap buildkitd.toml',
      })
    }
    if (typeof kind === 'object') {
      if ('tables' in kind) {
        if (!Array.isArray(value) || !value.every(isTable)) return wrong(`written as [[${show(path)}]]`)
        for (const entry of value) visitTable(entry, kind.tables, path)
        return
      }
      if (!isTable(value)) return wrong(`a table: [${show(path)}]`)
      if ('table' in kind) return visitTable(value, kind.table, path)
      for (const [key, child] of Object.entries(value)) if (child !== undefined) visit(child, kind.each, [...path, key])
      return
    }
    const expected = mismatch(value, kind)
    if (expected) wrong(expected)
  }

  visitTable(table, schema, [])
  return findings
}

export const isTable = (value: unknown): value is TomlTable =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)

const isInteger = (value: unknown): boolean => Number.isInteger(value) || typeof value === 'bigint'

/** What the value should have been, or undefined when it is right. Formats are those of gcpolicy.go. */
function mismatch(value: TomlValue, kind: Exclude<Kind, object>): string | undefined {
  switch (kind) {
    case 'string':
      return typeof value === 'string' ? undefined : 'a string'
    case 'bool':
      return typeof value === 'boolean' ? undefined : 'true or false'
    case 'int':
      return isInteger(value) ? undefined : 'a whole number'
    case 'strings':
      return Array.isArray(value) && value.every((v) => typeof v === 'string') ? undefined : 'a list of strings'
    case 'duration':
      return isInteger(value) ||
        (typeof value === 'string' && /^(\d+|-?(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))+|)$/.test(value))
        ? undefined
        : 'seconds or a duration such as "48h"'
    case 'size':
      return isInteger(value) || (typeof value === 'string' && /^(\d+%|\d+(\.\d+)? ?([kmgtp]i?)?b?|)$/i.test(value))
        ? undefined
        : 'bytes, a size such as "10GB" or a percentage such as "20%"'
    case 'any':
      return undefined
  }
}

function unknownKey(path: readonly string[], keys: Schema, where: string): Finding {
  const key = path.at(-1) ?? ''
  const near = nearest(key, Object.keys(keys))
  const elsewhere = near === undefined ? findKey(key, buildkitdKeys, []) : undefined
  const suggestion = near
    ? `; did you mean ${show([...path.slice(0, -1), near])}?`
    : elsewhere
      ? `; it belongs to [${show(elsewhere.slice(0, -1))}]`
      : ''
  return {
    code: 'CONFIG_UNKNOWN_KEY',
    severity: 'fatal',
    message: `${where}: buildkitd has no setting ${show(path)}${suggestion}`,
    fix: 'correct or remove the line in the ConfigMap buildkitd.toml',
  }
}

export const show = (path: readonly string[]): string =>
  path.map((part) => (/^[A-Za-z0-9_-]+$/.test(part) ? part : `"${part}"`)).join('.')

/** Where else a key of this name is known, as a path. */
function findKey(key: string, keys: Schema, path: readonly string[]): readonly string[] | undefined {
  for (const [name, kind] of Object.entries(keys)) {
    if (name === key && path.length > 0) return [...path, name]
    if (typeof kind !== 'object' || !('table' in kind) || name === 'oci') continue
    const found = findKey(key, kind.table, [...path, name])
    if (found) return found
  }
  return undefined
}

/** The candidate with the fewest edits, if it is close enough to be what was meant. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const lower = word.toLowerCase()
  const ranked = candidates
    .map((candidate) => ({ candidate, edits: distance(lower, candidate.toLowerCase()) }))
    .sort((a, b) => a.edits - b.edits)[0]
  return ranked && ranked.edits <= Math.max(2, Math.floor(word.length / 3)) ? ranked.candidate : undefined
}

/** Levenshtein distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}
