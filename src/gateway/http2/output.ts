import type { Duplex } from 'node:stream'

/** Bytes that may wait in the socket before streams have to hold theirs back. */
const congestion = 512 << 10

/** Frames that answer the peer and wait because it does not read: as many as Go's server keeps. */
const mostWaiting = 10_000

/** Frames on their way to the socket: those of one turn of the event loop leave with one system call. */
export class Output {
  private readonly socket: Duplex
  private readonly fill: () => void
  private readonly flooded: () => void
  private frames: Buffer[] = []
  private scheduled = false
  private waiting = 0

  /**
   * @param fill adds DATA frames while the socket is not congested.
   * @param flooded the peer makes us answer and does not read the answers.
   */
  constructor(socket: Duplex, fill: () => void, flooded: () => void) {
    this.socket = socket
    this.fill = fill
    this.flooded = flooded
    socket.on('drain', () => {
      this.waiting = 0
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
    this.schedule()
  }

  /** Adds a frame that the peer provoked. */
  answer(frame: Buffer): void {
    if (this.room <= 0 && ++this.waiting > mostWaiting) return this.flooded()
    this.push(frame)
  }

  schedule(): void {
    if (this.scheduled) return
    this.scheduled = true
    process.nextTick(() => {
      this.scheduled = false
      this.flush()
    })
  }

  flush(): void {
    const { socket } = this
    if (socket.destroyed || socket.writableEnded) {
      this.frames = []
      return
    }
    this.fill()
    const { frames } = this
    if (frames.length === 0) return
    this.frames = []
    if (frames.length === 1) {
      socket.write(frames[0])
      return
    }
    socket.cork()
    for (const frame of frames) socket.write(frame)
    socket.uncork()
  }
}
