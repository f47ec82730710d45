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
