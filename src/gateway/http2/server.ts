import type { Duplex } from 'node:stream'
import { Http2Connection } from './connection.ts'
import { Http2Error, protocolError } from './errors.ts'
import { preface } from './frames.ts'
import { requestFault, trailersFault } from './header-rules.ts'
import type { DecodedBlock } from './hpack/decoder.ts'
import { Http2Stream } from './stream.ts'

export interface ServerOptions {
  /** Bytes of one call that the client may have on their way. */
  readonly streamWindow: number
  readonly maxConcurrentStreams: number
  /** Bytes, counted as SETTINGS_MAX_HEADER_LIST_SIZE is. */
  readonly maxHeaderListSize: number
}

/** Closed streams whose number is remembered, to tell late frames from wrong ones. */
const rememberedStreams = 100

/** The server's side of a connection whose client has been let in. */
export class Http2Server extends Http2Connection {
  private prefaceLeft = preface
  private readonly recent = new Set<number>()
  /** The highest id that came, looked at or not. */
  private highest = 0

  constructor(socket: Duplex, options: ServerOptions) {
    super(socket, { role: 'server', initialWindowSize: options.streamWindow, ...options })
    this.start(undefined)
  }

  protected skipPreface(chunk: Buffer): Buffer {
    if (this.prefaceLeft.length === 0) return chunk
    const length = Math.min(chunk.length, this.prefaceLeft.length)
    if (!this.prefaceLeft.subarray(0, length).equals(chunk.subarray(0, length))) {
      throw protocolError('a wrong connection preface')
    }
    this.prefaceLeft = this.prefaceLeft.subarray(length)
    return chunk.subarray(length)
  }

  protected isIdle(id: number): boolean {
    return id % 2 === 0 || id > this.highest
  }

  protected newHeaders(id: number, { headers, tooLarge }: DecodedBlock, endStream: boolean): void {
    if (this.recent.has(id)) throw new Http2Error('STREAM_CLOSED', 'HEADERS on a closed stream')
    if (id % 2 === 0 || id <= this.highest) throw protocolError('a stream id that cannot be new')
    this.highest = id
    // After our GOAWAY: the client knows that this one was not looked at, and what follows of it is ignored.
    if (this.leaving) return this.remember(id)
    this.lastPeerStream = id
    if (this.streams.size >= this.own.maxConcurrentStreams) return this.streamError(id, 'REFUSED_STREAM')
    const fault = tooLarge ? undefined : requestFault(headers)
    const expected = contentLength(headers)
    if (fault !== undefined || Number.isNaN(expected)) return this.streamError(id, 'PROTOCOL_ERROR')
    const stream = new Http2Stream(this)
    this.adopt(stream, id)
    stream.opened = true
    stream.expected = expected
    this.recent.add(id)
    if (this.recent.size > rememberedStreams) this.recent.delete(this.recent.values().next().value ?? 0)
    if (endStream) this.remoteEnd(stream)
    if (stream.closed) return
    if (tooLarge) this.emit('oversized', stream)
    else this.emit('stream', stream, headers)
  }

  protected laterHeaders(stream: Http2Stream, { headers, tooLarge }: DecodedBlock, endStream: boolean): void {
    if (!endStream || tooLarge || trailersFault(headers) !== undefined) {
      return this.streamError(stream.id, 'PROTOCOL_ERROR')
    }
    stream.emit('trailers', headers)
    this.remoteEnd(stream)
  }
}

/** @returns NaN for one that is no number. */
function contentLength(headers: readonly string[]): number | undefined {
  for (let i = 0; i + 1 < headers.length; i += 2) {
    if (headers[i] === 'content-length') return /^\d{1,15}$/.test(headers[i + 1]!) ? Number(headers[i + 1]) : NaN
  }
  return undefined
}
