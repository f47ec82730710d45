import { defaultFrameSize, flags } from './frames.ts'
import { defaultSettings } from './settings.ts'
import type { Output } from './output.ts'
import type { Http2Stream } from './stream.ts'

/** Bytes from which on a stream is not a short message and more of it is probably on its way: TLS gives 16 KiB at a time. */
const bulk = 4 << 10
/** Bytes that are worth a system call of their own: a read of a socket without TLS gives a little more. */
const batch = 48 << 10

/** Cuts what streams want to send into DATA frames, in turns, as far as windows and the socket allow. */
export class Sender {
  /** What the peer lets us send on the whole connection. */
  window = defaultSettings.initialWindowSize
  frameSize = defaultFrameSize

  private readonly output: Output
  private readonly end: (stream: Http2Stream) => void
  private ready: Http2Stream[] = []

  /** @param end sends trailers, where there are some, and notes that our side has ended. */
  constructor(output: Output, end: (stream: Http2Stream) => void) {
    this.output = output
    this.end = end
  }

  add(stream: Http2Stream): void {
    if (stream.closed || stream.id === 0) return
    const { length } = stream.pending
    if (!stream.queued) {
      stream.queued = true
      this.ready.push(stream)
    } else if (length < batch) return
    if (length >= bulk && length < batch) this.output.scheduleLater()
    else this.output.schedule()
  }

  /** Moves frames into the output until it is full. Each stream that is ready has one frame in turn. */
  fill(): void {
    let room = this.output.room
    while (room > 0 && this.ready.length > 0) {
      const turn = this.ready
      this.ready = []
      let progress = false
      for (const stream of turn) {
        if (room <= 0) {
          this.ready.push(stream)
          continue
        }
        const bytes = this.send(stream)
        room -= bytes
        if (bytes > 0) progress = true
      }
      if (!progress) return
    }
  }

  /** @returns bytes of the frame. */
  private send(stream: Http2Stream): number {
    stream.queued = false
    if (stream.closed || stream.endSent) return 0
    const { pending } = stream
    const limit = Math.min(this.frameSize, stream.sendWindow, this.window)
    // A frame for each that arrived: then most of what was read in one go leaves in one piece.
    const bytes = Math.min(limit, pending.next >= bulk ? pending.next : pending.length)
    const last = stream.writableEnded && pending.length <= Math.max(0, bytes)
    const endStream = last && stream.trailers === undefined
    if (bytes > 0 || endStream) {
      const size = Math.max(0, bytes)
      this.output.pushData(endStream ? flags.END_STREAM : 0, stream.id, size, pending)
      stream.sendWindow -= size
      this.window -= size
    }
    if (last) this.end(stream)
    else if (pending.length > 0 && (bytes > 0 || (this.window <= 0 && stream.sendWindow > 0))) {
      // One that only its own window stops is added again when that grows.
      stream.queued = true
      this.ready.push(stream)
    }
    const sent = Math.max(0, bytes)
    stream.sent(sent)
    return sent
  }
}
