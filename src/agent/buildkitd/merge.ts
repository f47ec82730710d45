import { join, normalize } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { Finding } from '../../api/node-report.ts'
import { lineOf, parseToml, type TomlTable, type TomlValue } from '../../kernel/config/toml.ts'
import { InsituError } from '../../kernel/errors.ts'
import { checkKeys, isTable, show } from './check-keys.ts'
import { buildkitdKeys, type Kind, localMountKey, ownKeys } from './known-keys.ts'

/** A setting that is not the user's. */
export interface Held {
  readonly path: readonly string[]
  readonly value: TomlValue
  readonly why: string
}

export interface MergeInput {
  /** The user's buildkitd.toml; undefined: there is none. */
  readonly user: string | undefined
  /** buildkitd's root. */
  readonly root: string
  readonly held: readonly Held[]
  /** Settings of the user's that mean nothing here, with all below them. */
  readonly ignored?: readonly (readonly string[])[]
}

export interface Merged {
  /** What to write; undefined when the user's text cannot be used at all. */
  readonly table: MutableTable | undefined
  /** What the user wrote. */
  readonly user: TomlTable
  readonly tmpdir: string
  readonly findings: readonly Finding[]
}

/** Unix sockets of ssh mounts lie below TMPDIR, and a socket's path holds 107 bytes (unix(7)); 42 of them are BuildKit's. */
const longestTmpdir = 65

/** Directories of the system, with a slash at the end: a daemon's temporary directory has to be its own. */
const everybodys =
  /^\/((bin|boot|dev|etc|home|lib|lib64|media|mnt|opt|proc|root|run|sbin|srv|sys|tmp|usr|var|dev\/shm|var\/(cache|lib|log|run|tmp))\/)?$/

/**
 * The user's buildkitd.toml with what must hold. Never throws for what a user wrote: the mistakes are fatal findings,
 * all of them at once.
 */
export function mergeConfig(input: MergeInput): Merged {
  const text = input.user ?? ''
  const findings: Finding[] = []
  let user: TomlTable = {}
  try {
    user = parseToml(text, 'buildkitd.toml')
    findings.push(...checkKeys(user, text))
  } catch (error) {
    if (!(error instanceof InsituError)) throw error
    findings.push({ code: error.code, severity: 'fatal', message: error.message, fix: error.fix })
  }
  if (findings.length > 0) return { table: undefined, user, tmpdir: defaultTmpdir(input.root), findings }
  user = structuredClone(user)
  for (const path of input.ignored ?? []) set(user, path, undefined)

  const conflict = (path: readonly string[], value: unknown, why: string): void => {
    const line = lineOf(text, path)
    const code = path.at(-1) === 'snapshotter' ? 'SNAPSHOTTER_MISMATCH' : 'CONFIG_CONFLICT'
    findings.push({
      code,
      severity: 'fatal',
      message: `buildkitd.toml${line === undefined ? '' : ` line ${line}`}: ${show(path)} = ${JSON.stringify(value)} cannot be: ${why}`,
      fix: `remove ${show(path)} from the ConfigMap buildkitd.toml`,
    })
  }

  const merged = normalise(user, { table: buildkitdKeys }) as MutableTable
  for (const held of input.held) {
    const value = get(user, held.path)
    if (value !== undefined && !isDeepStrictEqual(value, held.value)) {
      conflict(held.path, value, `${held.why}; it is ${JSON.stringify(held.value)}`)
    }
    set(merged, held.path, held.value)
  }
  const tls = get(user, ['grpc', 'tls'])
  if (tls !== undefined) conflict(['grpc', 'tls'], tls, 'the agent ends TLS in front of the daemon')

  const tmpdir = takeLocalMountRoot(merged, input, conflict)
  // What the user names is checked where it is taken.
  if (Buffer.byteLength(tmpdir) > longestTmpdir) findings.push(rootTooLong(tmpdir))
  return { table: merged, user, tmpdir, findings }
}

const rootTooLong = (tmpdir: string): Finding => ({
  code: 'ROOT_TOO_LONG',
  severity: 'warning',
  message: `RUN --mount=type=ssh fails on this node: sockets of ssh mounts lie below ${tmpdir}, whose path may have ${longestTmpdir} characters at most`,
  fix: `give the agent a shorter root (insitu install --buildkit-root, insitu local --root), or set ${localMountKey} in buildkitd.toml`,
})

const defaultTmpdir = (root: string): string => join(root, 'local-mnt-src')

function takeLocalMountRoot(
  merged: MutableTable,
  input: MergeInput,
  conflict: (path: readonly string[], value: unknown, why: string) => void,
): string {
  let tmpdir = defaultTmpdir(input.root)
  for (const path of ownKeys) {
    const value = get(merged, path)
    if (value === undefined) continue
    set(merged, path, undefined)
    if (typeof value !== 'string' || !value.startsWith('/')) {
      conflict(path, value, 'it must be an absolute path that exists on the node and in the pod')
    } else if (everybodys.test(normalize(`${value}/`))) {
      conflict(path, value, 'others use that directory too, and what builds leave is swept from it')
    } else if (Buffer.byteLength(value) > longestTmpdir) {
      conflict(path, value, `sockets of ssh mounts lie below it, so it may have ${longestTmpdir} characters at most`)
    } else {
      tmpdir = normalize(value).replace(/\/+$/, '')
    }
  }
  return tmpdir
}

export interface MutableTable {
  [key: string]: TomlValue | MutableTable | undefined
}

/**
 * Sizes and durations become strings: the writer groups the digits of large numbers (`10_000`), which TOML allows and
 * buildkitd's parsers of these two kinds do not.
 */
function normalise(value: unknown, kind: Kind): unknown {
  if ((kind === 'size' || kind === 'duration') && (typeof value === 'number' || typeof value === 'bigint')) {
    return value.toString()
  }
  if (typeof kind !== 'object') return value
  if ('tables' in kind) return (value as readonly unknown[]).map((entry) => normalise(entry, { table: kind.tables }))
  const kindOf = (key: string): Kind => ('table' in kind ? (kind.table[key] ?? 'any') : kind.each)
  return Object.fromEntries(Object.entries(value as TomlTable).map(([key, v]) => [key, normalise(v, kindOf(key))]))
}

/** The value at a path, or undefined. */
export function get(table: TomlTable | MutableTable, path: readonly string[]): unknown {
  let at: unknown = table
  for (const part of path) at = isTable(at) ? at[part] : undefined
  return at
}

/** Sets the value at a path; undefined deletes it. */
export function set(table: MutableTable, path: readonly string[], value: TomlValue | undefined): void {
  const [first, ...rest] = path
  if (first === undefined || (value === undefined && table[first] === undefined)) return
  if (rest.length === 0) {
    if (value === undefined) delete table[first]
    else table[first] = value
    return
  }
  if (!isTable(table[first])) table[first] = {}
  set(table[first], rest, value)
}
