import type { Duplex } from 'node:stream'
import { Http2Connection } from './connection.ts'
import { errorCodes, protocolError } from './errors.ts'
import { preface } from './frames.ts'
import { responseFault, trailersFault } from './header-rules.ts'
import type { DecodedBlock } from './hpack/decoder.ts'
import type { RawHeaders } from './raw-headers.ts'
import { Http2Stream } from './stream.ts'
import type { Allowance } from './windows.ts'

export interface ClientOptions {
  /** Bytes of one call that the server may have on their way. */
  readonly streamWindow: number
  readonly maxHeaderListSize: number
  /** The calls are those of several users: what one of them does not read holds up none of the others. */
  readonly shared?: boolean
}

/** The client's side of a connection. */
export class Http2Client extends Http2Connection {
  private nextStream = 1
  private readonly unopened = new Map<Http2Stream, RawHeaders>()

  constructor(socket: Duplex, options: ClientOptions) {
    const { streamWindow: initialWindowSize, maxHeaderListSize, shared = false } = options
    super(socket, { role: 'client', initialWindowSize, maxConcurrentStreams: 0, maxHeaderListSize, shared })
    this.start(preface)
  }

  /** The server takes no new calls, or the connection is gone. */
  get closing(): boolean {
    return this.leaving || this.destroyed
  }

  /** Half of the calls that the server allows at once are open, or wait to be. */
  get crowded(): boolean {
    return this.streams.size + this.unopened.size >= this.remote.maxConcurrentStreams / 2
  }

  /**
   * Starts a call. When the server allows no more at once, or does not read, it waits for its turn.
   * @param allowance from which it gets a larger window when it turns out to be long.
   */
  request(headers: RawHeaders, allowance?: Allowance): Http2Stream {
    const stream = new Http2Stream(this, allowance)
    if (this.closing) stream.finish(errorCodes.REFUSED_STREAM)
    else if (this.hasRoom) this.open(stream, headers)
    else this.unopened.set(stream, headers)
    return stream
  }

  /** Frames are kept for a server that does not read, also those of calls that are given up: it gets no more calls until it does. */
  private get hasRoom(): boolean {
    return this.streams.size < this.remote.maxConcurrentStreams && this.output.room > 0
  }

  override destroy(error?: Error): void {
    super.destroy(error)
    this.refuseUnopened()
  }

  protected override settingsChanged(): void {
    this.openNext()
  }

  protected override streamGone(): void {
    this.openNext()
  }

  protected override fill(): void {
    this.openNext()
    super.fill()
  }

  protected override finish(stream: Http2Stream, code: number): void {
    this.unopened.delete(stream)
    super.finish(stream, code)
  }

  protected skipPreface(chunk: Buffer): Buffer {
    return chunk
  }

  protected isIdle(id: number): boolean {
    return id % 2 === 0 || id >= this.nextStream
  }

  protected newHeaders(id: number): void {
    if (this.isIdle(id)) throw protocolError('HEADERS on an idle stream')
  }

  protected laterHeaders(stream: Http2Stream, { headers, tooLarge }: DecodedBlock, endStream: boolean): void {
    if (tooLarge) return this.reset(stream, errorCodes.ENHANCE_YOUR_CALM)
    const fault = stream.opened ? trailersFault(headers) : responseFault(headers)
    if (fault !== undefined || (stream.opened && !endStream)) return this.reset(stream, errorCodes.PROTOCOL_ERROR)
    if (stream.opened) {
      stream.emit('trailers', headers)
    } else {
      // An interim response; the real one follows.
      if (headers[1]!.startsWith('1')) return
      stream.opened = true
      stream.emit('response', headers, endStream)
    }
    if (endStream) this.remoteEnd(stream)
  }

  protected override readGoaway(lastStream: number, code: number): void {
    this.leaving = true
    for (const stream of [...this.streams.values()]) {
      if (stream.id > lastStream) this.finish(stream, errorCodes.REFUSED_STREAM)
    }
    this.refuseUnopened()
    super.readGoaway(lastStream, code)
  }

  private open(stream: Http2Stream, headers: RawHeaders): void {
    this.adopt(stream, this.nextStream)
    this.nextStream += 2
    stream.headersSent = true
    this.pushHeaders(stream, headers, false)
    this.wantsToSend(stream)
  }

  private openNext(): void {
    for (const [stream, headers] of this.unopened) {
      if (!this.hasRoom || this.closing) return
      this.unopened.delete(stream)
      this.open(stream, headers)
    }
  }

  private refuseUnopened(): void {
    for (const stream of this.unopened.keys()) stream.finish(errorCodes.REFUSED_STREAM)
    this.unopened.clear()
  }
}
