import TOML from '@iarna/toml'
import { InsituError } from '../errors.ts'

export type TomlValue = string | number | bigint | boolean | Date | readonly TomlValue[] | TomlTable
export interface TomlTable {
  readonly [key: string]: TomlValue | undefined
}

/** @throws InsituError CONFIG_SYNTAX with line and column (counted from 1). `name` names the file in the sentence. */
export function parseToml(text: string, name: string): TomlTable {
  try {
    return TOML.parse(text)
  } catch (error) {
    const at = error as { line?: number; col?: number; message?: string }
    const where = at.line === undefined ? '' : ` line ${at.line + 1}, column ${(at.col ?? 0) + 1}`
    // The library's message repeats its position and draws the line below it.
    const what = (at.message ?? 'not TOML').split(/ at row | at line |\n/)[0] ?? 'not TOML'
    throw new InsituError('CONFIG_SYNTAX', `${name}${where}: ${what}`, {
      status: 'INVALID_ARGUMENT',
      fix: 'correct the line; strings need double quotes, tables are written [worker.containerd]',
      cause: error,
    })
  }
}

export const writeToml = (table: TomlTable): string => TOML.stringify(table as TOML.JsonMap)

/**
 * The line (from 1) that sets a key, for messages. Finds `a.b.c` whether it is written under `[a.b]`, as a dotted key or
 * inside an inline table (then the line of the table). Undefined when no line can be named.
 */
export function lineOf(text: string, path: readonly string[]): number | undefined {
  let table: string[] = []
  let best: { line: number; depth: number } | undefined
  for (const [index, line] of text.split('\n').entries()) {
    const header = /^\s*\[{1,2}([^\]]+)\]{1,2}\s*(#.*)?$/.exec(line)
    const key = /^\s*((?:"[^"]*"|'[^']*'|[A-Za-z0-9_.\s-])+?)\s*=/.exec(line)
    if (header) table = dotted(header[1] ?? '')
    const full = header ? table : key ? [...table, ...dotted(key[1] ?? '')] : undefined
    if (!full || full.length > path.length || !full.every((part, i) => part === path[i])) continue
    if (!best || full.length > best.depth) best = { line: index + 1, depth: full.length }
  }
  return best?.line
}

const dotted = (text: string): string[] =>
  [...text.matchAll(/"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+)/g)].map((m) => m[1] ?? m[2] ?? m[3] ?? '')
