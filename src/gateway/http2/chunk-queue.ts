/** From so many waiting chunks on, small ones are copied together: a peer must not make us keep a million of them. */
const many = 16
const small = 1024
const blockSize = 16 << 10

/** Bytes that wait, in order. A chunk in one piece stays the object that it was. */
export class ChunkQueue {
  private chunks: Buffer[] = []
  /** Which of them are alone with the memory before them. */
  private passed: boolean[] = []
  private head = 0
  private block: Buffer | undefined
  private blockUsed = 0
  /** Bytes in the queue. */
  length = 0

  /** @param passed nobody else passes this chunk on: what was in front of it in the same memory is for whoever takes it. */
  push(chunk: Buffer, passed = false): void {
    if (chunk.length === 0) return
    this.length += chunk.length
    if (chunk.length >= small || this.chunks.length - this.head < many) {
      this.block = undefined
      this.chunks.push(chunk)
      this.passed.push(passed)
      return
    }
    if (this.block && this.blockUsed + chunk.length <= this.block.length) {
      const last = this.chunks.length - 1
      const start = this.blockUsed - this.chunks[last]!.length
      this.blockUsed += chunk.copy(this.block, this.blockUsed)
      this.chunks[last] = this.block.subarray(start, this.blockUsed)
      return
    }
    this.block = Buffer.allocUnsafeSlow(blockSize)
    this.blockUsed = chunk.copy(this.block)
    this.chunks.push(this.block.subarray(0, this.blockUsed))
    this.passed.push(false)
  }

  /** Bytes of the next chunk. */
  get next(): number {
    return this.chunks[this.head]?.length ?? 0
  }

  /** Takes the next chunk, whole. */
  shift(): Buffer | undefined {
    const chunk = this.chunks[this.head]
    if (chunk === undefined) return undefined
    this.advance()
    this.length -= chunk.length
    return chunk
  }

  /** Takes at most so many bytes off the front and gives the slices to `to`. */
  take(bytes: number, to: (slice: Buffer, passed: boolean) => void): void {
    let left = bytes
    while (left > 0) {
      const chunk = this.chunks[this.head]
      if (chunk === undefined) return
      const passed = this.passed[this.head]!
      if (chunk.length <= left) {
        this.advance()
        left -= chunk.length
        this.length -= chunk.length
        to(chunk, passed)
      } else {
        this.chunks[this.head] = chunk.subarray(left)
        this.passed[this.head] = false
        this.length -= left
        to(chunk.subarray(0, left), passed)
        return
      }
    }
  }

  clear(): void {
    this.chunks = []
    this.passed = []
    this.head = 0
    this.length = 0
    this.block = undefined
  }

  private advance(): void {
    this.head++
    if (this.head === this.chunks.length) {
      this.chunks.length = 0
      this.passed.length = 0
      this.head = 0
      this.block = undefined
    } else if (this.head > 64) {
      this.chunks.splice(0, this.head)
      this.passed.splice(0, this.head)
      this.head = 0
    }
  }
}
