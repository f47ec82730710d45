/** What the calls of one user leave waiting to be sent, all together. Bytes. */
export interface Backlog {
  waiting: number
}

/** What calls of one user may have on their way beyond their first windows, and how much of it one call gets. Bytes. */
export interface Allowance extends Backlog {
  left: number
  readonly each: number
}

/** What we let the peer send on one stream. One that turns out to be long gets a larger window, while its user may have one. */
export class StreamWindow {
  private size: number
  private left: number
  private unreturned = 0
  private enlarged = false
  private readonly allowance: Allowance | undefined

  constructor(size: number, allowance?: Allowance) {
    this.size = size
    this.left = size
    this.allowance = allowance
  }

  /** @returns false when the peer sent more than it may. */
  take(bytes: number): boolean {
    this.left -= bytes
    return this.left >= 0
  }

  /** @returns the increment to announce, 0 while it is not worth a frame. */
  give(bytes: number): number {
    this.unreturned += bytes
    // A small window is given back sooner: its sender would wait for the rest.
    if (this.unreturned < this.size / (this.allowance && !this.enlarged ? 2 : 8)) return 0
    const increment = this.unreturned + this.enlarge()
    this.unreturned = 0
    this.left += increment
    return increment
  }

  /** The stream is over, and nothing of it is kept any more. */
  end(): void {
    if (this.allowance && this.enlarged) this.allowance.left += this.allowance.each
    this.enlarged = false
  }

  private enlarge(): number {
    const { allowance } = this
    if (!allowance || this.enlarged || allowance.left < allowance.each) return 0
    this.enlarged = true
    allowance.left -= allowance.each
    this.size += allowance.each
    return allowance.each
  }
}

/** What we let the peer send on a whole connection, and what it got back of it. */
export class ReceiveWindow {
  private size: number
  private left: number
  private unreturned = 0

  constructor(size: number) {
    this.size = size
    this.left = size
  }

  /** @returns false when the peer sent more than it may. */
  take(bytes: number): boolean {
    this.left -= bytes
    return this.left >= 0
  }

  /** @returns the increment to announce, 0 while it is not worth a frame. */
  give(bytes: number): number {
    this.unreturned += bytes
    if (this.unreturned < this.size / 4) return 0
    const increment = this.unreturned
    this.unreturned = 0
    this.left += increment
    return increment
  }

  /** A window only grows. @returns the increment to announce. */
  grow(size: number): number {
    const increment = Math.max(0, size - this.size)
    this.size += increment
    this.left += increment
    return increment
  }
}
