import type { Pattern } from './elf.ts'

/** A handler of the kernel, a file in binfmt_misc: Documentation/admin-guide/binfmt-misc.rst. */
export interface Entry {
  readonly name: string
  readonly enabled: boolean
  readonly interpreter: string
  /** Letters: P, O, C, F. */
  readonly flags: string
  readonly pattern: Pattern
}

/** What a handler is to be. */
export interface Handler {
  readonly name: string
  readonly interpreter: string
  readonly flags: string
  readonly pattern: Pattern
}

/** Reads a handler's file; undefined for one that goes by the ending of a file's name, and for no handler at all. */
export function parseEntry(name: string, text: string): Entry | undefined {
  const [state = '', ...lines] = text.split('\n')
  const value = (key: string): string | undefined =>
    lines
      .find((line) => line.startsWith(`${key} `) || line.startsWith(`${key}: `))
      ?.slice(key.length)
      .replace(/^:? /, '')
  const magic = value('magic')
  const interpreter = value('interpreter')
  if (magic === undefined || interpreter === undefined) return undefined
  const mask = value('mask')
  return {
    name,
    enabled: state === 'enabled',
    interpreter,
    flags: value('flags') ?? '',
    pattern: {
      offset: Number(value('offset') ?? 0),
      magic: Buffer.from(magic, 'hex'),
      mask: mask === undefined ? Buffer.alloc(magic.length / 2, 0xff) : Buffer.from(mask, 'hex'),
    },
  }
}

/** The line that makes the kernel take a handler. A name or a path with a colon in it cannot be written there. */
export function registration({ name, interpreter, flags, pattern }: Handler): string {
  const escaped = (bytes: Buffer): string =>
    [...bytes].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')
  return `:${name}:M:${pattern.offset}:${escaped(pattern.magic)}:${escaped(pattern.mask)}:${interpreter}:${flags}`
}

const sorted = (letters: string): string => letters.split('').sort().join('')

/** Whether the kernel has the handler just so. The order of flags is the kernel's. */
export const isAs = (entry: Entry, wanted: Handler): boolean =>
  entry.enabled &&
  entry.interpreter === wanted.interpreter &&
  sorted(entry.flags) === sorted(wanted.flags) &&
  entry.pattern.offset === wanted.pattern.offset &&
  entry.pattern.magic.equals(wanted.pattern.magic) &&
  entry.pattern.mask.equals(wanted.pattern.mask)
