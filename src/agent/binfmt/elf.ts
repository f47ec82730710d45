import type { Architecture } from './architectures.ts'

/** Where programs are loaded; and the greatest page size of any Linux: a segment has to agree with it. */
const address = 0x400000
const pageSize = 0x10000

/** The smallest program of an architecture: a static ELF file with one segment, elf(5). About 140 bytes. */
export function smallestProgram(architecture: Architecture): Buffer {
  const wide = architecture.bits === 64
  const [headerSize, segmentSize] = wide ? [64, 56] : [52, 32]
  const start = headerSize + segmentSize
  const code = Buffer.from(architecture.code, 'hex')
  const file = Buffer.alloc(start + code.length)
  const half = (value: number, at: number): number =>
    architecture.bigEndian ? file.writeUInt16BE(value, at) : file.writeUInt16LE(value, at)
  const word = (value: number, at: number): number =>
    architecture.bigEndian ? file.writeUInt32BE(value, at) : file.writeUInt32LE(value, at)
  /** An address or a size: as wide as the architecture. */
  const long = (value: number, at: number): number =>
    wide ? word(value, architecture.bigEndian ? at + 4 : at) : word(value, at)

  // e_ident: magic, class, byte order, version
  file.set([0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, architecture.bigEndian ? 2 : 1, 1])
  half(2, 16) // ET_EXEC
  half(architecture.machine, 18)
  word(1, 20)
  long(address + start, 24)
  long(headerSize, wide ? 32 : 28)
  const rest = wide ? 48 : 36
  word(architecture.flags ?? 0, rest)
  half(headerSize, rest + 4)
  half(segmentSize, rest + 6)
  half(1, rest + 8)

  // The one segment: all of the file, readable and executable.
  const [load, readExecute] = [1, 5]
  word(load, headerSize)
  if (wide) {
    word(readExecute, headerSize + 4)
    long(address, headerSize + 16)
    long(address, headerSize + 24)
    long(file.length, headerSize + 32)
    long(file.length, headerSize + 40)
    long(pageSize, headerSize + 48)
  } else {
    word(address, headerSize + 8)
    word(address, headerSize + 12)
    word(file.length, headerSize + 16)
    word(file.length, headerSize + 20)
    word(readExecute, headerSize + 24)
    word(pageSize, headerSize + 28)
  }
  code.copy(file, start)
  return file
}

/** What the kernel compares with the beginning of a file. */
export interface Pattern {
  readonly offset: number
  readonly magic: Buffer
  readonly mask: Buffer
}

/**
 * Recognises the programs of an architecture by the first 20 bytes of an ELF header: executable or position-independent,
 * of any operating system's ABI and version of it.
 */
export function patternOf(architecture: Architecture): Pattern {
  const magic = Buffer.from(smallestProgram(architecture).subarray(0, 20))
  const mask = Buffer.alloc(20, 0xff)
  mask.fill(0, 7, 9)
  // ET_EXEC is 2 and ET_DYN 3: the last bit of e_type does not count.
  mask[architecture.bigEndian ? 17 : 16] = 0xfe
  return { offset: 0, magic, mask }
}

/** Whether the kernel would give a file that begins like this to a handler with that pattern. */
export function matches(pattern: Pattern, file: Buffer): boolean {
  const { offset, magic, mask } = pattern
  const byteMatches = (byte: number, i: number): boolean => (((file[offset + i] ?? 0) ^ byte) & (mask[i] ?? 0xff)) === 0
  return file.length >= offset + magic.length && magic.every(byteMatches)
}
