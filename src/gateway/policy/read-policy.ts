import { parseReference } from '../../buildkit/reference.ts'
import { isCidr } from '../../kernel/cidr.ts'
import { lineOf, parseToml } from '../../kernel/config/toml.ts'
import { InsituError } from '../../kernel/errors.ts'
import { checkNamePattern } from './names.ts'
import { type Match, modest, nobody, type Policy, type Rights, type Tenant } from './policy.ts'

type Table = Readonly<Record<string, unknown>>

/**
 * Reads policy.toml: `[defaults]`, then `[[tenant]]` in the order in which they are tried. Strict: a key that does not
 * exist is an error, because a right that is misspelt would silently be another one. A value that no build asks for is a
 * warning only: daemons learn new ones, and a gateway must not end over a file that an earlier one took.
 * @param name of the file, for messages.
 * @throws InsituError CONFIG_SYNTAX, POLICY_KEY, POLICY_VALUE
 */
export function readPolicy(text: string, name: string): Policy {
  const table: Table = parseToml(text, name)
  const at = reader(text, name)
  at.keys(table, [], ['defaults', 'queue', 'tenant'])
  const defaults = readRights(at, at.table(table['defaults'], ['defaults']), ['defaults'], modest)
  const list = table['tenant'] ?? []
  if (!Array.isArray(list)) throw at.wrong(['tenant'], 'written [[tenant]]')
  const tenants = list.map((entry: unknown, i): Tenant => {
    const own = at.table(entry, ['tenant'])
    const title = own['name']
    if (typeof title !== 'string' || title === '') throw at.wrong(['tenant', 'name'], `a text (tenant ${i + 1})`)
    const { name: _, match, ...rights } = own
    return {
      name: title,
      match: readMatch(at, match, title),
      rights: readRights(at, rights, ['tenant', title], defaults),
    }
  })
  const twice = tenants.find((tenant, i) => tenants.findIndex((other) => other.name === tenant.name) < i)
  if (twice) throw at.wrong(['tenant', 'name'], `a name of its own for each tenant ("${twice.name}" is there twice)`)
  const queue = at.table(table['queue'], ['queue'])
  at.keys(queue, ['queue'], ['buildsPerNode'])
  const buildsPerNode = whole(at, queue['buildsPerNode'] ?? 0, ['queue', 'buildsPerNode'], 0)
  return { name, tenants, buildsPerNode, warnings: at.warnings }
}

interface Reader {
  table(value: unknown, path: readonly string[]): Table
  keys(table: Table, path: readonly string[], known: readonly string[]): void
  wrong(path: readonly string[], what: string): InsituError
  /** Notes values that no build asks for. */
  doubt(path: readonly string[], values: readonly string[], known: readonly string[]): void
  readonly warnings: readonly string[]
}

function reader(text: string, file: string): Reader {
  const where = (path: readonly string[]): string => {
    const line = path[0] === 'tenant' ? lineOfTenant(text, path) : lineOf(text, path)
    return line === undefined ? file : `${file} line ${line}`
  }
  const warnings: string[] = []
  const reader: Reader = {
    warnings,
    doubt(path, values, known) {
      const unknown = values.filter((value) => !known.includes(value) && !/\*|^device=/.test(value))
      for (const value of unknown) {
        const says = `${path.join('.')} has "${value}", which no build asks for; known are ${known.join(', ')}`
        warnings.push(`${where(path)}: ${says}`)
      }
    },
    table(value, path) {
      if (value === undefined) return {}
      if (typeof value !== 'object' || value === null || Array.isArray(value)) throw reader.wrong(path, 'a table')
      return value as Table
    },
    keys(table, path, known) {
      const unknown = Object.keys(table).find((key) => !known.includes(key))
      if (unknown === undefined) return
      const full = [...path, unknown].join('.')
      throw new InsituError('POLICY_KEY', `${where([...path, unknown])}: there is no key ${full}`, {
        status: 'INVALID_ARGUMENT',
        fix: `remove it, or use one of ${known.join(', ')}`,
      })
    },
    wrong: (path, what) =>
      new InsituError('POLICY_VALUE', `${where(path)}: ${path.join('.')} must be ${what}`, {
        status: 'INVALID_ARGUMENT',
      }),
  }
  return reader
}

/** The line (from 1) of a key of a `[[tenant]]`, whose table TOML does not name: path is `tenant`, its name, the key. */
function lineOfTenant(text: string, [, title, ...keys]: readonly string[]): number | undefined {
  const lines = text.split('\n')
  const name = lines.findIndex((line) => /^\s*name\s*=/.test(line) && line.includes(`"${title}"`))
  if (title === undefined || name < 0) return undefined
  const isHeader = (line: string): boolean => /^\s*\[\[tenant\]\]/.test(line)
  const start = lines.slice(0, name).findLastIndex(isHeader)
  const after = lines.slice(name).findIndex(isHeader)
  const end = after < 0 ? lines.length : name + after
  const found = lines
    .slice(start, end)
    .findIndex((line) => keys.some((key) => /[^{,=]+(?==)/g[Symbol.match](line)?.some((word) => word.trim() === key)))
  return 1 + (found < 0 ? name : start + found)
}

function readMatch(at: Reader, value: unknown, tenant: string): Match {
  const path = ['tenant', tenant, 'match']
  const table = at.table(value, path)
  at.keys(table, path, Object.keys(nobody))
  if (Object.keys(table).length === 0) throw at.wrong(path, 'there; write anybody = true for everybody')
  const flag = (key: 'loopback' | 'anybody'): boolean => {
    const set = table[key] ?? false
    if (typeof set !== 'boolean') throw at.wrong([...path, key], 'true or false')
    return set
  }
  const list = (key: keyof Match): readonly string[] => texts(at, table[key] ?? [], [...path, key])
  const addresses = list('addresses')
  if (!addresses.every(isCidr)) throw at.wrong([...path, 'addresses'], 'a list of addresses such as "10.0.0.0/8"')
  const serviceAccounts = list('serviceAccounts')
  if (!serviceAccounts.every((s) => /^[^/]+\/[^/]+$/.test(s))) {
    throw at.wrong([...path, 'serviceAccounts'], 'a list of NAMESPACE/NAME')
  }
  return {
    ...{ namespaces: list('namespaces'), users: list('users'), groups: list('groups') },
    ...{ addresses, serviceAccounts, loopback: flag('loopback'), anybody: flag('anybody') },
  }
}

const caches = ['registry', 'local', 'inline', 's3', 'azblob', 'gha']

/**
 * What builds ask for. Sources: BuildKit v0.33.1, client/exporters.go, util/entitlements/entitlements.go, and
 * cmd/buildkitd/main.go for caches. A device may be named: `device=…`.
 */
const known = {
  exporters: ['image', 'local', 'tar', 'oci', 'docker'],
  entitlements: ['network.host', 'security.insecure', 'device'],
  cacheTo: caches,
  cacheFrom: caches,
} as const satisfies Partial<Record<keyof Rights, readonly string[]>>

function readRights(at: Reader, table: Table, path: readonly string[], base: Rights): Rights {
  at.keys(table, path, Object.keys(modest))
  const list = (key: keyof Rights): readonly string[] =>
    table[key] === undefined ? (base[key] as readonly string[]) : texts(at, table[key], [...path, key])
  const number = (key: 'builds' | 'weight' | 'solvesPerMinute', least: number): number =>
    whole(at, table[key] ?? base[key], [...path, key], least)
  const administrator = table['administrator'] ?? base.administrator
  if (typeof administrator !== 'boolean') throw at.wrong([...path, 'administrator'], 'true or false')
  const names = list('names')
  for (const entry of names) {
    try {
      checkNamePattern(entry)
    } catch (error) {
      throw at.wrong([...path, 'names'], `a list of names (${error instanceof Error ? error.message : String(error)})`)
    }
  }
  const frontends = list('frontends')
  if (!frontends.every(isFrontend)) {
    throw at.wrong([...path, 'frontends'], 'a list of llb, dockerfile.v0, gateway.v0, gateway.v0:REPOSITORY or *')
  }
  for (const key of ['exporters', 'entitlements', 'cacheTo', 'cacheFrom'] as const) {
    // What is inherited was looked at where it stands.
    if (table[key] !== undefined) at.doubt([...path, key], list(key), known[key])
  }
  return {
    ...{ names, frontends, exporters: list('exporters'), entitlements: list('entitlements') },
    ...{ platforms: list('platforms'), nodes: list('nodes'), cacheTo: list('cacheTo'), cacheFrom: list('cacheFrom') },
    ...{ builds: number('builds', 0), weight: number('weight', 1), solvesPerMinute: number('solvesPerMinute', 0) },
    administrator,
  }
}

function isFrontend(entry: string): boolean {
  const source = /^gateway\.v0:(.*)$/.exec(entry)?.[1]
  if (source === undefined) return /^(\*|[a-z0-9.]+)$/.test(entry)
  try {
    parseReference(source)
    return true
  } catch {
    return false
  }
}

function whole(at: Reader, value: unknown, path: readonly string[], least: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= 100_000) return value
  throw at.wrong(path, `a whole number from ${least}`)
}

function texts(at: Reader, value: unknown, path: readonly string[]): readonly string[] {
  if (!Array.isArray(value) || !value.every((v): v is string => typeof v === 'string' && v !== '')) {
    throw at.wrong(path, 'a list of texts')
  }
  return value
}
