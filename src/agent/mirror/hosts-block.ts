import { isDeepStrictEqual } from 'node:util'
import { parseToml, type TomlTable } from '../../kernel/config/toml.ts'

/** What is remembered inside our part of a hosts.toml, to put everything back from the file alone. */
export interface BlockMemory {
  /** Permissions that the file had, octal. Ours are stricter, since the block holds a secret. */
  readonly mode: number
  /** Whose the file was. Ours are root's. */
  readonly owner: { readonly uid: number; readonly gid: number }
  /** The file is there because of us. */
  readonly fresh: boolean
  /** So many directories above the file were made for it. */
  readonly directories: number
}

export interface MirrorHost {
  /** `http://127.0.0.1:2378` */
  readonly url: string
  /** containerd shows it to the mirror, and nobody else can. */
  readonly token: string
}

export const tokenHeader = 'x-insitu-mirror'

const begin = '# insitu: begin'
const end = '# insitu: end'
const block = /^# insitu: begin[^\n]*\n[\s\S]*?^# insitu: end\n/m

/**
 * The part of a hosts.toml that asks the mirror first. Format: containerd's docs/hosts.md.
 * `dial_timeout` bounds a connection that nobody answers where containerd knows it (2.1); older ones ignore the key.
 */
export const renderBlock = ({ url, token }: MirrorHost, { mode, owner, fresh, directories }: BlockMemory): string =>
  [
    `${begin}, it ends with insitu (mode ${mode.toString(8)}, new ${fresh ? 1 : 0}, directories ${directories}, owner ${owner.uid}:${owner.gid})`,
    `[host."${url}"]`,
    '  capabilities = ["pull", "resolve"]',
    '  dial_timeout = "1s"',
    `  [host."${url}".header]`,
    `    ${tokenHeader} = "${token}"`,
    end,
    '',
  ].join('\n')

/** What a block says about the file it is in; undefined when there is none. */
export function readBlock(text: string): BlockMemory | undefined {
  // Agents before this one did not write the owner.
  const found = /^# insitu: begin[^\n]*\(mode ([0-7]+), new ([01]), directories (\d+)(?:, owner (\d+):(\d+))?\)$/m.exec(
    text,
  )
  if (!found) return undefined
  const [, mode = '644', fresh, directories, uid = '0', gid = '0'] = found
  return {
    ...{ mode: Number.parseInt(mode, 8), owner: { uid: Number(uid), gid: Number(gid) } },
    ...{ fresh: fresh === '1', directories: Number(directories) },
  }
}

/** The file as it would be without us, byte for byte. */
export const withoutBlock = (text: string): string => text.replace(block, '')

/**
 * A hosts.toml with our host in front of all others: containerd asks them in the order of the file.
 * @returns undefined when that cannot be done without changing what the file says.
 */
export function withBlock(text: string, host: MirrorHost, memory: BlockMemory): string | undefined {
  const original = withoutBlock(text)
  const lines = original.split('\n')
  // In front of the first table. A line of a list may look like one: then the next is tried.
  const tables = [...lines.keys()].filter((i) => /^\s*\[{1,2}\s*["'A-Za-z]/.test(lines[i] ?? ''))
  for (const at of tables.length === 0 ? [lines.length] : tables) {
    const before = lines.slice(0, at).join('\n') + (at > 0 && at < lines.length ? '\n' : '')
    // A last line without its end would have to be changed to put something behind it.
    if (before !== '' && !before.endsWith('\n')) continue
    const changed = `${before}${renderBlock(host, memory)}${lines.slice(at).join('\n')}`
    if (says(original, changed, host.url)) return changed
  }
  return undefined
}

function says(original: string, changed: string, url: string): boolean {
  try {
    const was = parseToml(original, 'hosts.toml')
    const is = parseToml(changed, 'hosts.toml')
    const hosts = (is['host'] ?? {}) as TomlTable
    if (Object.keys(hosts)[0] !== url) return false
    const { [url]: _, ...others } = hosts
    const rest = was['host'] === undefined ? { ...is, host: undefined } : { ...is, host: others }
    return isDeepStrictEqual(plain(rest), plain(was))
  } catch {
    return false
  }
}

/** Without the symbols that the parser leaves on its tables. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value)) as unknown
