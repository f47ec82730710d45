const blockSize = 64 << 10
/** What is larger gets memory of its own: it would leave too much of a block empty. */
const large = blockSize / 8

/**
 * Copies of small things that stay, packed into blocks that nobody else uses. A small Buffer of Node lies in a pool, and keeps
 * all that came beside it; an allocation for each would cost more than the thing itself.
 */
export function packed(): (bytes: Buffer) => Buffer {
  let block = Buffer.alloc(0)
  let used = 0
  return (bytes) => {
    if (bytes.length > large) {
      const own = Buffer.allocUnsafeSlow(bytes.length)
      bytes.copy(own)
      return own
    }
    if (used + bytes.length > block.length) {
      block = Buffer.allocUnsafeSlow(blockSize)
      used = 0
    }
    const from = used
    used += bytes.copy(block, from)
    return block.subarray(from, used)
  }
}
