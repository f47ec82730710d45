import type { RawHeaders } from '../raw-headers.ts'
import { compressionError } from '../errors.ts'
import { decodeHuffman } from './huffman.ts'
import { type Field, staticTable } from './static-table.ts'

/** What RFC 7541 section 4.1 adds for each field. */
const fieldOverhead = 32

export interface DecodedBlock {
  readonly headers: RawHeaders
  /** The list is larger than the limit; `headers` is empty then. */
  readonly tooLarge: boolean
}

/** Decodes the header blocks of one direction of a connection (RFC 7541), in their order. */
export class HpackDecoder {
  private readonly most: number
  private capacity: number
  /** Oldest first. */
  private table: Field[] = []
  private size = 0

  /** @param most bytes of the dynamic table that were announced to the encoder. */
  constructor(most = 4096) {
    this.most = most
    this.capacity = most
  }

  /**
   * @param limit most bytes of the list, counted as SETTINGS_MAX_HEADER_LIST_SIZE is. A larger list is read to its end,
   * because the next blocks build on it, but not kept.
   * @throws Http2Error COMPRESSION_ERROR
   */
  decode(block: Buffer, limit: number): DecodedBlock {
    const headers: string[] = []
    const reader = new BlockReader(block)
    let size = 0
    while (!reader.done) {
      const byte = reader.peek()
      let field: Field
      if (byte >= 0x80) {
        field = this.field(reader.integer(7))
      } else if ((byte & 0xe0) === 0x20) {
        if (size > 0) throw compressionError('a table size update after a field')
        this.resize(reader.integer(5))
        continue
      } else {
        const indexed = (byte & 0x40) !== 0
        const name = reader.integer(indexed ? 6 : 4)
        field = { name: name === 0 ? reader.string() : this.field(name).name, value: reader.string() }
        if (indexed) this.add(field)
      }
      size += field.name.length + field.value.length + fieldOverhead
      if (size <= limit) headers.push(field.name, field.value)
    }
    return size > limit ? { headers: [], tooLarge: true } : { headers, tooLarge: false }
  }

  private field(index: number): Field {
    const found =
      index < staticTable.length ? staticTable[index] : this.table[this.table.length - 1 - (index - staticTable.length)]
    if (index === 0 || !found) throw compressionError('an index that is not in the table')
    return found
  }

  private add(field: Field): void {
    this.table.push(field)
    this.size += field.name.length + field.value.length + fieldOverhead
    this.evict()
  }

  private resize(capacity: number): void {
    if (capacity > this.most) throw compressionError('a table that is larger than announced')
    this.capacity = capacity
    this.evict()
  }

  private evict(): void {
    while (this.size > this.capacity) {
      const { name, value } = this.table.shift()!
      this.size -= name.length + value.length + fieldOverhead
    }
  }
}

class BlockReader {
  private readonly block: Buffer
  private at = 0

  constructor(block: Buffer) {
    this.block = block
  }

  get done(): boolean {
    return this.at >= this.block.length
  }

  peek(): number {
    return this.block[this.at]!
  }

  /** RFC 7541 section 5.1. */
  integer(bits: number): number {
    const mask = (1 << bits) - 1
    let value = this.byte() & mask
    if (value < mask) return value
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte()
      value += (byte & 0x7f) * 2 ** shift
      if (shift > 21) throw compressionError('a number that is too large')
      if (byte < 0x80) return value
    }
  }

  /** RFC 7541 section 5.2. */
  string(): string {
    const huffman = !this.done && this.peek() >= 0x80
    const length = this.integer(7)
    const end = this.at + length
    if (end > this.block.length) throw compressionError('a string that is cut off')
    const text = huffman
      ? decodeHuffman(this.block.subarray(this.at, end))
      : this.block.toString('latin1', this.at, end)
    this.at = end
    return text
  }

  private byte(): number {
    const byte = this.block[this.at++]
    if (byte === undefined) throw compressionError('a header block that is cut off')
    return byte
  }
}
