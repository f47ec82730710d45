import { Http2Error, protocolError } from './errors.ts'
import { flags } from './frames.ts'

/** Most CONTINUATION frames of one block: a block of the largest size needs far fewer. */
const mostContinuations = 64

export interface HeaderBlock {
  readonly stream: number
  readonly endStream: boolean
  readonly block: Buffer
}

/** Puts HEADERS and its CONTINUATION frames together (RFC 9113 section 6.10), within bounds. */
export class HeaderCollector {
  private readonly limit: number
  private stream = 0
  private endStream = false
  private parts: Buffer[] = []
  private bytes = 0

  /** @param limit most bytes of an encoded block. */
  constructor(limit: number) {
    this.limit = limit
  }

  /** The stream whose block is not complete, or 0. Nothing else may come in between. */
  get open(): number {
    return this.stream
  }

  /** @throws Http2Error */
  headers(stream: number, flag: number, payload: Buffer): HeaderBlock | undefined {
    let from = 0
    let padding = 0
    if ((flag & flags.PADDED) !== 0) {
      if (payload.length === 0) throw new Http2Error('FRAME_SIZE_ERROR', 'padding in an empty frame')
      padding = payload[0]!
      from = 1
    }
    if ((flag & flags.PRIORITY) !== 0) {
      if (payload.length < from + 5) throw new Http2Error('FRAME_SIZE_ERROR', 'a priority that is cut off')
      if ((payload.readUInt32BE(from) & 0x7fffffff) === stream) throw protocolError('a stream that depends on itself')
      from += 5
    }
    if (from + padding > payload.length) throw protocolError('more padding than frame')
    this.endStream = (flag & flags.END_STREAM) !== 0
    const fragment = payload.subarray(from, payload.length - padding)
    if ((flag & flags.END_HEADERS) !== 0) return { stream, endStream: this.endStream, block: fragment }
    this.stream = stream
    this.add(fragment)
    return undefined
  }

  /** @throws Http2Error */
  continuation(stream: number, flag: number, payload: Buffer): HeaderBlock | undefined {
    if (this.stream === 0 || stream !== this.stream) throw protocolError('CONTINUATION of nothing')
    this.add(payload)
    if ((flag & flags.END_HEADERS) === 0) return undefined
    const block = Buffer.concat(this.parts)
    this.stream = 0
    this.parts = []
    this.bytes = 0
    return { stream, endStream: this.endStream, block }
  }

  private add(fragment: Buffer): void {
    this.bytes += fragment.length
    // The frame's payload is reused once its handler returns.
    this.parts.push(Buffer.from(fragment))
    if (this.bytes > this.limit || this.parts.length > mostContinuations) {
      throw new Http2Error('ENHANCE_YOUR_CALM', 'a header block that is too large')
    }
  }
}
