import { Http2Error } from './errors.ts'
import { defaultFrameSize, flags, frameHeaderSize, frameTypes } from './frames.ts'

/** Gets what a FrameReader reads. What a handler throws ends the reading. */
export interface FrameHandler {
  /**
   * A DATA frame begins. Its bytes follow in parts as they arrive: nothing waits for a whole frame.
   * @param length of the payload with its padding: what flow control counts.
   */
  dataBegins(stream: number, length: number): void
  dataPart(bytes: Buffer): void
  dataEnds(endStream: boolean): void
  /** Any other frame, whole. The payload is good until the handler returns. */
  frame(type: number, flag: number, stream: number, payload: Buffer): void
}

/** Cuts the bytes of a connection into frames (RFC 9113 section 4.1) without copying DATA. */
export class FrameReader {
  private readonly handler: FrameHandler
  private readonly header = Buffer.allocUnsafe(frameHeaderSize)
  private headerBytes = 0
  private payload: Buffer | undefined
  private payloadBytes = 0
  private inData = false
  private dataLeft = 0
  private paddingLeft = 0
  private paddingUnknown = false

  constructor(handler: FrameHandler) {
    this.handler = handler
  }

  /** @throws Http2Error of the connection. */
  read(chunk: Buffer): void {
    let at = 0
    while (at < chunk.length) {
      if (this.inData) at = this.readData(chunk, at)
      else if (this.headerBytes < frameHeaderSize) at = this.readHeader(chunk, at)
      else at = this.readPayload(chunk, at)
    }
  }

  private readHeader(chunk: Buffer, from: number): number {
    const end = Math.min(chunk.length, from + frameHeaderSize - this.headerBytes)
    for (let at = from; at < end; at++) this.header[this.headerBytes++] = chunk[at]!
    if (this.headerBytes < frameHeaderSize) return end
    const length = this.length
    if (length > defaultFrameSize) throw new Http2Error('FRAME_SIZE_ERROR', 'a frame that is too large')
    if (this.header[3] === frameTypes.DATA) this.beginData(length)
    else if (length === 0) this.dispatch(Buffer.alloc(0))
    return end
  }

  private get length(): number {
    return (this.header[0]! << 16) | (this.header[1]! << 8) | this.header[2]!
  }

  private get stream(): number {
    return this.header.readUInt32BE(5) & 0x7fffffff
  }

  private beginData(length: number): void {
    this.handler.dataBegins(this.stream, length)
    this.inData = true
    this.dataLeft = length
    this.paddingLeft = 0
    this.paddingUnknown = (this.header[4]! & flags.PADDED) !== 0
    if (this.paddingUnknown && length === 0) throw new Http2Error('FRAME_SIZE_ERROR', 'padding in an empty frame')
    if (length === 0) this.endData()
  }

  private readData(chunk: Buffer, from: number): number {
    let at = from
    if (this.paddingUnknown) {
      this.paddingUnknown = false
      this.paddingLeft = chunk[at++]!
      this.dataLeft -= 1 + this.paddingLeft
      if (this.dataLeft < 0) throw new Http2Error('PROTOCOL_ERROR', 'more padding than frame')
    }
    const bytes = Math.min(this.dataLeft, chunk.length - at)
    if (bytes > 0) {
      this.dataLeft -= bytes
      this.handler.dataPart(chunk.subarray(at, at + bytes))
      at += bytes
    }
    if (this.dataLeft === 0) {
      const padding = Math.min(this.paddingLeft, chunk.length - at)
      this.paddingLeft -= padding
      at += padding
      if (this.paddingLeft === 0) this.endData()
    }
    return at
  }

  private endData(): void {
    this.inData = false
    this.headerBytes = 0
    this.handler.dataEnds((this.header[4]! & flags.END_STREAM) !== 0)
  }

  private readPayload(chunk: Buffer, from: number): number {
    const length = this.length
    if (this.payloadBytes === 0 && chunk.length - from >= length) {
      this.dispatch(chunk.subarray(from, from + length))
      return from + length
    }
    this.payload ??= Buffer.allocUnsafe(length)
    const end = Math.min(chunk.length, from + length - this.payloadBytes)
    this.payloadBytes += chunk.copy(this.payload, this.payloadBytes, from, end)
    if (this.payloadBytes === length) this.dispatch(this.payload)
    return end
  }

  private dispatch(payload: Buffer): void {
    this.headerBytes = 0
    this.payloadBytes = 0
    this.payload = undefined
    this.handler.frame(this.header[3]!, this.header[4]!, this.stream, payload)
  }
}
