import { EventEmitter } from 'node:events'
import type { Duplex } from 'node:stream'
import { type ErrorCode, errorCodes, Http2Error, protocolError } from './errors.ts'
import { type FrameHandler, FrameReader } from './frame-reader.ts'
import { flags, frameTypes, goawayFrame, headerFrames, numberFrame, pingFrame } from './frames.ts'
import { HeaderCollector } from './header-collector.ts'
import { type DecodedBlock, HpackDecoder } from './hpack/decoder.ts'
import { encodeHeaders } from './hpack/encoder.ts'
import { Output } from './output.ts'
import type { RawHeaders } from './raw-headers.ts'
import { Sender } from './sender.ts'
import { defaultSettings, maxWindow, type OwnSettings, readSettings, settingsAck, settingsFrame } from './settings.ts'
import { Http2Stream, type StreamHost } from './stream.ts'
import { TokenBucket } from './token-bucket.ts'
import { type Backlog, ReceiveWindow, StreamWindow } from './windows.ts'

interface ConnectionEvents {
  /** For servers: a call of the peer. */
  stream: [stream: Http2Stream, headers: RawHeaders]
  /** For servers: a call whose header list is larger than allowed. */
  oversized: [stream: Http2Stream]
  /** The peer's first SETTINGS have arrived. */
  settings: []
  /** The peer takes no new calls. */
  goaway: []
  pong: []
  /** Always the last event. */
  close: []
}

/** Streams we have reset: what the peer had sent before it knew is not held against it. */
const rememberedResets = 1000

/** Resets that a peer may cause: at once, and per second. CVE-2023-44487, CVE-2025-8671. */
const resetBurst = 1000
const resetsPerSecond = 50

/** Empty DATA frames in a row: they cost the sender nothing and no window bounds them. */
const mostEmptyData = 1000

/** Milliseconds after the last frames have left, or after a mistake of the peer, until the socket is cut. */
const farewell = 500

/** Milliseconds that the last answers have to leave on a slow line. */
const mostFarewell = 30_000

/**
 * One HTTP/2 connection (RFC 9113), either side. DATA passes through in the slices in which it arrived; nothing of it is
 * decoded or copied. Errors of the peer end the stream or the connection as the RFC says, and never throw.
 */
export abstract class Http2Connection extends EventEmitter<ConnectionEvents> implements FrameHandler, StreamHost {
  protected readonly own: OwnSettings
  protected readonly streams = new Map<number, Http2Stream>()
  protected remote = defaultSettings
  /** The highest stream id the peer has opened. */
  protected lastPeerStream = 0
  /** We are going: no new streams. */
  protected leaving = false
  destroyed = false
  readonly backlog: Backlog = { waiting: 0 }
  /** Why it ended, where that is known. */
  reason: Error | undefined
  /** When something arrived last, milliseconds of performance.now(). */
  lastRead = performance.now()

  private readonly socket: Duplex
  private readonly reader = new FrameReader(this)
  protected readonly output: Output
  private readonly sender: Sender
  private readonly decoder = new HpackDecoder()
  private readonly collector: HeaderCollector
  private readonly window = new ReceiveWindow(defaultSettings.initialWindowSize)
  private readonly resets = new TokenBucket(resetBurst, resetsPerSecond)
  private readonly resetByUs = new Set<number>()
  private settled = false
  private failed = false
  private firstBlock = true
  private emptyData = 0
  private dataStream: Http2Stream | undefined
  private dataOverhead = 0

  protected constructor(socket: Duplex, own: OwnSettings) {
    super()
    this.socket = socket
    this.own = own
    this.collector = new HeaderCollector(Math.max(own.maxHeaderListSize * 2, 64 << 10))
    this.output = new Output(
      socket,
      () => this.fill(),
      () => this.fail(new Http2Error('ENHANCE_YOUR_CALM', 'too many frames that want an answer')),
    )
    this.sender = new Sender(this.output, (stream) => this.sendEnd(stream))
    socket.on('data', (chunk: Buffer) => this.readChunk(chunk))
    socket.on('error', (error) => (this.reason ??= error))
    socket.on('end', () => this.destroy())
    socket.on('close', () => this.destroy())
  }

  /** Bytes of all streams together that the peer may have on their way. Only grows. */
  setWindow(bytes: number): void {
    const increment = this.window.grow(bytes)
    if (increment > 0 && !this.destroyed) this.output.push(numberFrame(frameTypes.WINDOW_UPDATE, 0, increment))
  }

  get openStreams(): number {
    return this.streams.size
  }

  ping(): void {
    if (!this.destroyed) this.output.push(pingFrame(Buffer.alloc(8), false))
  }

  /** Takes no new calls; ends when the open ones have ended. */
  shutdown(): void {
    if (this.leaving || this.destroyed) return
    this.leaving = true
    this.output.push(goawayFrame(this.lastPeerStream, errorCodes.NO_ERROR, ''))
    this.endWhenQuiet()
  }

  /** Cuts the connection; every open call ends. */
  destroy(error?: Error): void {
    if (this.destroyed) return
    this.destroyed = true
    this.reason ??= error
    const code = errorCodes[this.failure ?? 'CANCEL']
    for (const stream of this.streams.values()) stream.finish(code)
    this.streams.clear()
    this.socket.destroy()
    process.nextTick(() => this.emit('close'))
  }

  private failure: ErrorCode | undefined

  // --- reading

  private readChunk(chunk: Buffer): void {
    if (this.failed || this.destroyed) return
    this.lastRead = performance.now()
    try {
      this.reader.read(this.skipPreface(chunk))
    } catch (error) {
      this.fail(error)
    }
  }

  /** Servers take the client's preface off here. @throws Http2Error */
  protected abstract skipPreface(chunk: Buffer): Buffer

  private fail(error: unknown): void {
    if (this.failed || this.destroyed) return
    this.failed = true
    this.leaving = true
    const known = error instanceof Http2Error ? error : new Http2Error('INTERNAL_ERROR', 'an error of ours')
    this.failure = known.code
    this.reason = error instanceof Error ? error : known
    this.output.push(goawayFrame(this.lastPeerStream, errorCodes[known.code], known.message))
    this.sayGoodbye()
    for (const stream of this.streams.values()) stream.finish(errorCodes[known.code])
    this.streams.clear()
  }

  dataBegins(id: number, length: number): void {
    this.expectNoContinuation()
    this.expectSettings()
    if (id === 0) throw protocolError('DATA on stream 0')
    if (!this.window.take(length)) throw new Http2Error('FLOW_CONTROL_ERROR', 'more DATA than the window allows')
    this.emptyData = length > 0 ? 0 : this.emptyData + 1
    if (this.emptyData > mostEmptyData) throw new Http2Error('ENHANCE_YOUR_CALM', 'too many empty DATA frames')
    this.dataOverhead = length
    this.dataStream = undefined
    const stream = this.streams.get(id)
    if (!stream && this.isIdle(id)) throw protocolError('DATA on an idle stream')
    if (!stream || stream.remoteEnded) {
      if (!this.resetByUs.has(id)) this.streamError(id, 'STREAM_CLOSED')
      return
    }
    if (!stream.opened) return this.streamError(id, 'PROTOCOL_ERROR')
    if (stream.window?.take(length) === false) return this.streamError(id, 'FLOW_CONTROL_ERROR')
    this.dataStream = stream
  }

  dataPart(bytes: Buffer): void {
    const stream = this.dataStream
    if (!stream || stream.closed) return
    this.dataOverhead -= bytes.length
    if (this.own.shared) this.giveBack(bytes.length)
    if (stream.expected !== undefined) stream.expected -= bytes.length
    stream.received(bytes)
  }

  dataEnds(endStream: boolean): void {
    const stream = this.dataStream
    // Padding, and the bytes of a stream that nobody reads.
    this.giveBack(this.dataOverhead)
    if (!stream || stream.closed) return
    this.returnCredit(stream, this.dataOverhead)
    if (endStream) this.remoteEnd(stream)
  }

  frame(type: number, flag: number, id: number, payload: Buffer): void {
    if (type !== frameTypes.CONTINUATION) this.expectNoContinuation()
    if (type === frameTypes.SETTINGS) return this.readSettingsFrame(flag, id, payload)
    this.expectSettings()
    switch (type) {
      case frameTypes.HEADERS: {
        if (id === 0) throw protocolError('HEADERS on stream 0')
        const done = this.collector.headers(id, flag, payload)
        if (done) this.readBlock(done.stream, done.block, done.endStream)
        return
      }
      case frameTypes.CONTINUATION: {
        const done = this.collector.continuation(id, flag, payload)
        if (done) this.readBlock(done.stream, done.block, done.endStream)
        return
      }
      case frameTypes.PRIORITY:
        if (id === 0) throw protocolError('PRIORITY on stream 0')
        if (payload.length !== 5) return this.streamError(id, 'FRAME_SIZE_ERROR')
        if ((payload.readUInt32BE(0) & 0x7fffffff) === id) this.streamError(id, 'PROTOCOL_ERROR')
        return
      case frameTypes.RST_STREAM:
        return this.readReset(id, payload)
      case frameTypes.PUSH_PROMISE:
        throw protocolError('PUSH_PROMISE')
      case frameTypes.PING:
        if (id !== 0) throw protocolError('PING on a stream')
        if (payload.length !== 8) throw new Http2Error('FRAME_SIZE_ERROR', 'a PING of a wrong size')
        if ((flag & flags.ACK) === 0) this.output.answer(pingFrame(payload, true))
        else this.emit('pong')
        return
      case frameTypes.GOAWAY:
        if (id !== 0) throw protocolError('GOAWAY on a stream')
        if (payload.length < 8) throw new Http2Error('FRAME_SIZE_ERROR', 'a GOAWAY of a wrong size')
        return this.readGoaway(payload.readUInt32BE(0) & 0x7fffffff, payload.readUInt32BE(4))
      case frameTypes.WINDOW_UPDATE:
        return this.readWindowUpdate(id, payload)
    }
  }

  private expectNoContinuation(): void {
    if (this.collector.open !== 0) throw protocolError('another frame inside of a header block')
  }

  private expectSettings(): void {
    if (!this.settled) throw protocolError('a frame before SETTINGS')
  }

  private readSettingsFrame(flag: number, id: number, payload: Buffer): void {
    if (id !== 0) throw protocolError('SETTINGS on a stream')
    if ((flag & flags.ACK) !== 0) {
      if (payload.length > 0) throw new Http2Error('FRAME_SIZE_ERROR', 'an acknowledgement with content')
      if (!this.settled) throw protocolError('an acknowledgement before SETTINGS')
      return
    }
    const before = this.remote
    this.remote = readSettings(payload, before, this.own.role === 'server' ? 'client' : 'server')
    const change = this.remote.initialWindowSize - before.initialWindowSize
    for (const stream of change === 0 ? [] : this.streams.values()) {
      stream.sendWindow += change
      if (stream.sendWindow > maxWindow) throw new Http2Error('FLOW_CONTROL_ERROR', 'a window that is too large')
      this.wantsToSend(stream)
    }
    this.sender.frameSize = Math.min(this.remote.maxFrameSize, 64 << 10)
    this.output.answer(settingsAck())
    if (!this.settled) {
      this.settled = true
      this.emit('settings')
    }
    this.settingsChanged()
  }

  /** The peer may allow more streams now. */
  protected settingsChanged(): void {}

  private readBlock(id: number, block: Buffer, endStream: boolean): void {
    // Decoded in any case: the next blocks build on it.
    const decoded = this.decoder.decode(block, this.own.maxHeaderListSize)
    const stream = this.streams.get(id)
    if (stream?.remoteEnded === true) return this.streamError(id, 'STREAM_CLOSED')
    if (stream) this.laterHeaders(stream, decoded, endStream)
    else if (!this.resetByUs.has(id)) this.newHeaders(id, decoded, endStream)
  }

  /** Headers of a stream that is not open. @throws Http2Error */
  protected abstract newHeaders(id: number, decoded: DecodedBlock, endStream: boolean): void
  /** Trailers, and for clients responses. */
  protected abstract laterHeaders(stream: Http2Stream, decoded: DecodedBlock, endStream: boolean): void
  /** No frame has been sent on the stream yet, by nobody. */
  protected abstract isIdle(id: number): boolean

  private readReset(id: number, payload: Buffer): void {
    if (id === 0 || this.isIdle(id)) throw protocolError('RST_STREAM of an idle stream')
    if (payload.length !== 4) throw new Http2Error('FRAME_SIZE_ERROR', 'RST_STREAM of a wrong size')
    const stream = this.streams.get(id)
    if (!stream) return
    this.finish(stream, payload.readUInt32BE(0))
    this.countReset()
  }

  private readWindowUpdate(id: number, payload: Buffer): void {
    if (payload.length !== 4) throw new Http2Error('FRAME_SIZE_ERROR', 'WINDOW_UPDATE of a wrong size')
    const increment = payload.readUInt32BE(0) & 0x7fffffff
    if (id === 0) {
      if (increment === 0) throw protocolError('an empty WINDOW_UPDATE')
      this.sender.window += increment
      if (this.sender.window > maxWindow) throw new Http2Error('FLOW_CONTROL_ERROR', 'a window that is too large')
      this.output.schedule()
      return
    }
    if (this.isIdle(id)) throw protocolError('WINDOW_UPDATE on an idle stream')
    if (increment === 0) return this.streamError(id, 'PROTOCOL_ERROR')
    const stream = this.streams.get(id)
    if (!stream) return
    stream.sendWindow += increment
    if (stream.sendWindow > maxWindow) return this.streamError(id, 'FLOW_CONTROL_ERROR')
    this.wantsToSend(stream)
  }

  protected readGoaway(_lastStream: number, _code: number): void {
    this.emit('goaway')
  }

  /** Adds what waits for room in the socket. */
  protected fill(): void {
    this.sender.fill()
  }

  // --- what streams ask for

  sendHeaders(stream: Http2Stream, headers: RawHeaders, endStream: boolean): void {
    this.pushHeaders(stream, headers, endStream)
    if (endStream) this.localEnd(stream)
  }

  protected pushHeaders(stream: Http2Stream, headers: RawHeaders, endStream: boolean): void {
    const block = encodeHeaders(headers, this.firstBlock)
    this.firstBlock = false
    // An answer that ends its stream makes room for the next call, whether the peer reads it or not.
    const provoked = endStream && this.own.role === 'server'
    for (const frame of headerFrames(stream.id, block, endStream, this.remote.maxFrameSize)) this.send(frame, provoked)
  }

  wantsToSend(stream: Http2Stream): void {
    this.sender.add(stream)
  }

  consumed(stream: Http2Stream, bytes: number): void {
    if (!this.own.shared) this.giveBack(bytes)
    this.returnCredit(stream, bytes)
  }

  reset(stream: Http2Stream, code: number): void {
    // A client opens the next call for each that a server gives up; a server is not to blame for calls that its client gives up.
    if (stream.id !== 0) this.sendReset(stream.id, code, this.own.role === 'server')
    this.finish(stream, code)
  }

  // --- the life of streams

  protected adopt(stream: Http2Stream, id: number): void {
    stream.id = id
    stream.sendWindow = this.remote.initialWindowSize
    stream.window = new StreamWindow(this.own.initialWindowSize, stream.allowance)
    this.streams.set(id, stream)
  }

  protected remoteEnd(stream: Http2Stream): void {
    if (stream.expected !== undefined && stream.expected !== 0) return this.streamError(stream.id, 'PROTOCOL_ERROR')
    stream.receivedEnd()
    if (stream.endSent) this.finish(stream, errorCodes.NO_ERROR)
  }

  /** Everything of ours is sent. A server needs no more of the request than it has read. */
  private localEnd(stream: Http2Stream): void {
    stream.endSent = true
    if (stream.remoteEnded) this.finish(stream, errorCodes.NO_ERROR)
    else if (this.own.role === 'server') this.reset(stream, errorCodes.NO_ERROR)
  }

  private sendEnd(stream: Http2Stream): void {
    if (stream.trailers) this.pushHeaders(stream, stream.trailers, true)
    this.localEnd(stream)
  }

  protected finish(stream: Http2Stream, code: number): void {
    if (stream.closed) return
    this.streams.delete(stream.id)
    // Nobody needs more of a request when its call is over; an answer may only then be here as a whole.
    const unread = stream.finish(code, this.own.role === 'client')
    if (!this.own.shared) this.giveBack(unread)
    this.streamGone()
    if (this.leaving) this.endWhenQuiet()
  }

  protected streamGone(): void {}

  /** A violation that concerns one stream. */
  protected streamError(id: number, code: ErrorCode): void {
    const stream = this.streams.get(id)
    this.sendReset(id, errorCodes[code], true)
    if (stream) this.finish(stream, errorCodes[code])
    this.countReset()
  }

  private sendReset(id: number, code: number, provoked: boolean): void {
    this.send(numberFrame(frameTypes.RST_STREAM, id, code), provoked)
    this.remember(id)
  }

  /** @param provoked by the peer, of whom only so much is kept when it does not read. */
  private send(frame: Buffer, provoked: boolean): void {
    if (provoked) this.output.answer(frame)
    else this.output.push(frame)
  }

  protected remember(id: number): void {
    this.resetByUs.add(id)
    if (this.resetByUs.size <= rememberedResets) return
    for (const oldest of this.resetByUs) {
      this.resetByUs.delete(oldest)
      return
    }
  }

  private countReset(): void {
    if (this.own.role === 'server' && !this.resets.take()) {
      throw new Http2Error('ENHANCE_YOUR_CALM', 'too many calls that are given up')
    }
  }

  private giveBack(bytes: number): void {
    const increment = bytes === 0 || this.destroyed ? 0 : this.window.give(bytes)
    if (increment > 0) this.output.push(numberFrame(frameTypes.WINDOW_UPDATE, 0, increment))
  }

  private returnCredit(stream: Http2Stream, bytes: number): void {
    if (stream.closed || stream.remoteEnded) return
    const increment = stream.window?.give(bytes) ?? 0
    if (increment > 0) this.output.push(numberFrame(frameTypes.WINDOW_UPDATE, stream.id, increment))
  }

  private endWhenQuiet(): void {
    if (this.streams.size > 0 || this.destroyed) return
    this.sayGoodbye()
  }

  private sayGoodbye(): void {
    this.output.flush()
    this.socket.end()
    const cutIn = (time: number): NodeJS.Timeout => setTimeout(() => this.destroy(), time)
    let timer = cutIn(this.failed ? farewell : mostFarewell)
    this.socket.once('finish', () => {
      clearTimeout(timer)
      if (!this.destroyed) timer = cutIn(farewell)
    })
    this.once('close', () => clearTimeout(timer))
  }

  protected start(first: Buffer | undefined): void {
    if (first) this.output.push(first)
    this.output.push(settingsFrame(this.own))
  }
}
