import type { Duplex } from 'node:stream'
import type { ChunkQueue } from './chunk-queue.ts'
import { frameHeader, frameHeaderSize, frameTypes, writeFrameHeader } from './frames.ts'

/** Bytes that may wait in the socket before streams have to hold theirs back. */
const congestion = 512 << 10

/** Frames that answer the peer and wait because it does not read: as many as Go's server keeps. */
const mostWaiting = 10_000
/** … and bytes of them: a call that is refused is answered with a sentence. */
const mostBytesWaiting = 1 << 20

/** So few bytes are copied together: a list of pieces costs more to hand over. */
const small = 4096

/** Frames on their way to the socket: those that one read of another socket gives rise to leave with one system call. */
export class Output {
  private readonly socket: Duplex
  private readonly fill: () => void
  private readonly flooded: () => void
  private frames: Buffer[] = []
  private bytes = 0
  private scheduled = false
  private deferred = false
  private filling = false
  private waiting = { frames: 0, bytes: 0 }

  /**
   * @param fill adds what waits while the socket is congested, as far as there is room.
   * @param flooded the peer makes us answer and does not read the answers.
   */
  constructor(socket: Duplex, fill: () => void, flooded: () => void) {
    this.socket = socket
    this.fill = fill
    this.flooded = flooded
    socket.on('drain', () => {
      this.waiting = { frames: 0, bytes: 0 }
      this.flush()
    })
  }

  /** Bytes of DATA that may be added now. */
  get room(): number {
    return congestion - this.socket.writableLength
  }

  /** Adds bytes without looking whether there is room: for what the peer's window or an answer allows. */
  push(bytes: Buffer): void {
    this.frames.push(bytes)
    this.bytes += bytes.length
    if (!this.filling) this.schedule()
  }

  /**
   * Adds a DATA frame of the first `size` bytes that wait. Frames that were read in one go and leave in one go stay one
   * piece of memory: between two of them is what was the header of the second, and its new one goes there.
   */
  pushData(flag: number, stream: number, size: number, pending: ChunkQueue): void {
    let begun = false
    pending.take(size, (slice, passed) => {
      const last = this.frames.at(-1)
      if (!begun && passed && last && follows(last, slice)) {
        const both = Buffer.from(slice.buffer, last.byteOffset, last.length + frameHeaderSize + slice.length)
        writeFrameHeader(both, last.length, frameTypes.DATA, flag, stream, size)
        this.frames[this.frames.length - 1] = both
        this.bytes += frameHeaderSize + slice.length
      } else {
        if (!begun) this.push(frameHeader(frameTypes.DATA, flag, stream, size))
        this.push(slice)
      }
      begun = true
    })
    if (!begun) this.push(frameHeader(frameTypes.DATA, flag, stream, size))
  }

  /** Adds a frame that the peer provoked. */
  answer(frame: Buffer): void {
    if (this.room <= 0) {
      this.waiting.frames += 1
      this.waiting.bytes += frame.length
      if (this.waiting.frames > mostWaiting || this.waiting.bytes > mostBytesWaiting) return this.flooded()
    }
    this.push(frame)
  }

  /** Not at once: what a call's other listeners do with what has just arrived belongs to the same packet. */
  schedule(): void {
    if (this.scheduled) return
    this.scheduled = true
    process.nextTick(() => process.nextTick(() => this.flush()))
  }

  /** With what else is read in this turn of the event loop, unless something leaves before. */
  scheduleLater(): void {
    if (this.scheduled || this.deferred) return
    this.deferred = true
    setImmediate(() => {
      this.deferred = false
      if (!this.scheduled) this.flush()
    })
  }

  flush(): void {
    this.scheduled = false
    const { socket } = this
    if (socket.destroyed || socket.writableEnded) {
      this.frames = []
      this.bytes = 0
      return
    }
    this.filling = true
    this.fill()
    this.filling = false
    const { frames, bytes } = this
    if (frames.length === 0) return
    this.frames = []
    this.bytes = 0
    if (frames.length === 1 || bytes <= small) {
      socket.write(frames.length === 1 ? frames[0] : Buffer.concat(frames, bytes))
      return
    }
    socket.cork()
    for (const frame of frames) socket.write(frame)
    socket.uncork()
  }
}

/** Nothing but a frame header was between them when they were read. */
const follows = (last: Buffer, slice: Buffer): boolean =>
  last.buffer === slice.buffer && last.byteOffset + last.length + frameHeaderSize === slice.byteOffset
