import { frame, framePrefix } from './framing.ts'

/**
 * Changes messages of a gRPC stream on their way.
 * @param change gets each message, unpacked; undefined leaves it as it is.
 * @param limit bytes of a message that is held until it is complete. A larger one, or one that is compressed, passes
 * unseen: whoever reads it says what he thinks of it.
 * @param onHeld gets how many bytes are held, after each piece. What it throws ends the stream: no more may be given.
 * @returns a function that takes the next bytes and gives back those that can go on now.
 */
export function messageRewriter(
  change: (message: Uint8Array) => Uint8Array | undefined,
  limit: number,
  onHeld: (bytes: number) => void = () => undefined,
): (chunk: Buffer) => Buffer {
  let held: Buffer[] = []
  let size = 0
  /** Bytes to come of a message that passes unseen. */
  let passing = 0

  /** The next piece that can go on; undefined when there is none. */
  const next = (all: Buffer, at: number): { readonly out: Buffer; readonly end: number } | undefined => {
    if (passing === 0) {
      if (all.length - at < framePrefix) return undefined
      const length = lengthOf(all, at)
      if (all[at] === 0 && length <= limit) {
        if (at + length > all.length) return undefined
        const whole = all.subarray(at, at + length)
        const changed = change(whole.subarray(framePrefix))
        return { out: changed ? frame(changed) : whole, end: at + length }
      }
      passing = length
    }
    const end = Math.min(at + passing, all.length)
    passing -= end - at
    return end > at ? { out: all.subarray(at, end), end } : undefined
  }

  return (chunk) => {
    held.push(chunk)
    size += chunk.length
    onHeld(size)
    const first = held[0] as Buffer
    // A large message comes in many pieces: they are joined once, when they are enough.
    if (passing === 0 && first.length >= framePrefix) {
      const length = lengthOf(first, 0)
      if (size < length && length <= limit && first[0] === 0) return Buffer.alloc(0)
    }
    const all = held.length === 1 ? first : Buffer.concat(held)
    const out: Buffer[] = []
    let at = 0
    for (let piece = next(all, at); piece; piece = next(all, at)) {
      out.push(piece.out)
      at = piece.end
    }
    const rest = all.subarray(at)
    held = rest.length > 0 ? [rest] : []
    size = rest.length
    onHeld(size)
    return out.length === 1 ? (out[0] as Buffer) : Buffer.concat(out)
  }
}

const lengthOf = (bytes: Buffer, at: number): number => framePrefix + bytes.readUInt32BE(at + 1)
