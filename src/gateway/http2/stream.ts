import { EventEmitter } from 'node:events'
import { ChunkQueue } from './chunk-queue.ts'
import { errorCodes } from './errors.ts'
import type { RawHeaders } from './raw-headers.ts'
import type { Allowance, Backlog, StreamWindow } from './windows.ts'

interface StreamEvents {
  data: [chunk: Buffer]
  /** The peer has ended its side and everything was read. */
  end: []
  /** There is room for more to write. */
  drain: []
  /** For clients. `ended`: a trailers-only answer. */
  response: [headers: RawHeaders, ended: boolean]
  trailers: [headers: RawHeaders]
  /** Nothing happens on the stream any more; `rstCode` says how it ended. Always the last event. */
  close: []
}

/** What a stream needs of its connection. */
export interface StreamHost {
  /** Of the streams that have no allowance. */
  readonly backlog: Backlog
  sendHeaders(stream: Http2Stream, headers: RawHeaders, endStream: boolean): void
  /** There is something to send. */
  wantsToSend(stream: Http2Stream): void
  /** So many bytes were read. */
  consumed(stream: Http2Stream, bytes: number): void
  reset(stream: Http2Stream, code: number): void
}

/** Bytes of one stream that may wait before `write` says that it is enough … */
const enough = 256 << 10
/** … and once so many of its user's streams wait: who leaves a thousand calls unread should not fill our memory. */
const enoughOfMany = 16 << 10
const many = 8 << 20

/**
 * One call. It has the manners of a Duplex of Node (data, end, pause, resume, write, end, drain) without its cost:
 * data is delivered from the first `data` listener or `resume()` on, and unread bytes stay within the window.
 */
export class Http2Stream extends EventEmitter<StreamEvents> {
  /** 0 while it waits for its turn to be opened. */
  id = 0
  rstCode: number = errorCodes.NO_ERROR
  /** Ended or reset; `close` follows or has been. */
  closed = false
  headersSent = false
  sendWindow = 0
  /** What the peer may send, from when the stream is opened on. */
  window: StreamWindow | undefined
  /** From which that is enlarged. */
  readonly allowance: Allowance | undefined
  readonly pending = new ChunkQueue()
  /** In the connection's list of streams that have something to send. */
  queued = false
  endSent = false
  remoteEnded = false
  /** Bytes that are still to come according to content-length. */
  expected: number | undefined
  /** The peer's first header block has been seen. */
  opened = false

  private readonly host: StreamHost
  private readonly backlog: Backlog
  private readonly unread = new ChunkQueue()
  private flowing: boolean | null = null
  private resuming = false
  private endEmitted = false
  private wantsDrain = false
  private finalHeaders: RawHeaders | undefined
  private ending = false

  constructor(host: StreamHost, allowance?: Allowance) {
    super()
    this.host = host
    this.allowance = allowance
    this.backlog = allowance ?? host.backlog
  }

  get destroyed(): boolean {
    return this.closed
  }
  get readableEnded(): boolean {
    return this.endEmitted
  }
  get readableFlowing(): boolean | null {
    return this.flowing
  }
  get writableEnded(): boolean {
    return this.ending
  }
  get writableLength(): number {
    return this.pending.length
  }

  // --- writing

  /** Sends the response headers; lines of one name stay lines. `endStream`: there is no body. */
  respond(headers: RawHeaders, options: { readonly endStream?: boolean } = {}): void {
    if (this.closed || this.headersSent) return
    this.headersSent = true
    const endStream = options.endStream === true
    if (endStream) this.ending = true
    this.host.sendHeaders(this, headers, endStream)
  }

  /** @returns false when the caller should wait for `drain`. */
  write(chunk: Uint8Array): boolean {
    return this.add(Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length), false)
  }

  /** `write` of what another stream's `data` brought and no other stream is given: its frame's header is written over. */
  pass(chunk: Buffer): boolean {
    return this.add(chunk, true)
  }

  private add(chunk: Buffer, passed: boolean): boolean {
    if (this.closed || this.ending) return false
    this.pending.push(chunk, passed)
    this.backlog.waiting += chunk.length
    this.host.wantsToSend(this)
    // Only what is sent takes it back: another writer may have been told to wait for a drain.
    if (this.pending.length >= this.enough) this.wantsDrain = true
    return !this.wantsDrain
  }

  private get enough(): number {
    return this.backlog.waiting < many ? enough : enoughOfMany
  }

  /** Ends our side after what was written, with trailers where there are some. */
  end(chunk?: Uint8Array, trailers?: RawHeaders): void {
    if (this.closed || this.ending) return
    if (chunk) this.write(chunk)
    this.ending = true
    this.finalHeaders = trailers
    this.host.wantsToSend(this)
  }

  /** Trailers to send when nothing is pending any more. */
  get trailers(): RawHeaders | undefined {
    return this.finalHeaders
  }

  /** For the connection, after it has sent so many bytes. */
  sent(bytes: number): void {
    this.backlog.waiting -= bytes
    if (!this.wantsDrain || this.pending.length >= this.enough / 2) return
    this.wantsDrain = false
    this.emit('drain')
  }

  /** Resets the stream, unless it is over already. What came and was not read is dropped. */
  close(code: number = errorCodes.NO_ERROR): void {
    if (!this.closed) return this.host.reset(this, code)
    this.host.consumed(this, this.drop())
    this.dropped = true
    if (this.closeAfterReading) process.nextTick(() => this.over())
  }

  // --- reading

  override on<K extends keyof StreamEvents>(event: K, listener: (...args: StreamEvents[K]) => void): this {
    super.on(event, listener as never)
    if (event === 'data' && this.flowing === null) this.resume()
    return this
  }

  pause(): this {
    this.flowing = false
    return this
  }

  resume(): this {
    this.flowing = true
    if (!this.resuming) {
      this.resuming = true
      process.nextTick(() => {
        this.resuming = false
        this.deliver()
      })
    }
    return this
  }

  /** For the connection: bytes have arrived. */
  received(chunk: Buffer): void {
    if (this.flowing === true && this.unread.length === 0 && !this.resuming) return this.give(chunk)
    this.unread.push(chunk)
  }

  /** For the connection: the peer has ended its side. */
  receivedEnd(): void {
    this.remoteEnded = true
    if (!this.resuming) this.deliver()
  }

  /**
   * For the connection: it is over.
   * @param readable what came before a proper end can still be read.
   * @returns bytes that nobody will read.
   */
  finish(code: number, readable = true): number {
    this.closed = true
    this.rstCode = code
    this.backlog.waiting -= this.pending.length
    this.pending.clear()
    const proper = readable && code === errorCodes.NO_ERROR && this.remoteEnded
    const lost = proper ? 0 : this.drop()
    process.nextTick(() => {
      if (proper && this.awaited) this.closeAfterReading = true
      else this.over()
    })
    return lost
  }

  /** Something is left to read, or only the end is, of which who has paused hears when it goes on. */
  private get awaited(): boolean {
    return !this.dropped && (this.unread.length > 0 || (this.flowing === false && !this.endEmitted))
  }

  /** @returns bytes that were here and unread. */
  private drop(): number {
    const { length } = this.unread
    this.unread.clear()
    if (length > 0) this.dropped = true
    return length
  }

  /** Both sides have ended and somebody still reads. */
  private closeAfterReading = false
  /** Not all that came is read: `end` would be a lie. */
  private dropped = false
  private overEmitted = false

  private give(chunk: Buffer): void {
    this.host.consumed(this, chunk.length)
    this.emit('data', chunk)
  }

  private deliver(): void {
    while (this.flowing === true) {
      const chunk = this.unread.shift()
      if (!chunk) break
      this.give(chunk)
    }
    if (this.flowing !== true || this.unread.length > 0 || this.endEmitted || !this.remoteEnded || this.dropped) return
    this.endEmitted = true
    this.emit('end')
    if (this.closeAfterReading) this.over()
  }

  private over(): void {
    if (this.overEmitted) return
    this.overEmitted = true
    this.window?.end()
    this.emit('close')
  }
}
