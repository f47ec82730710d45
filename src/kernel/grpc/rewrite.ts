import { frame, framePrefix } from './framing.ts'

/**
 * Changes messages of a gRPC stream on their way.
 * @param change gets each message, unpacked; undefined leaves it as it is.
 * @param limit bytes of a message that is held until it is complete. A larger one, or one that is compressed, and all
 * that follows it pass unseen: whoever reads them says what he thinks of them.
 * @returns a function that takes the next bytes and gives back those that can go on now.
 */
export function messageRewriter(
  change: (message: Uint8Array) => Uint8Array | undefined,
  limit: number,
): (chunk: Buffer) => Buffer {
  let held: Buffer[] = []
  let size = 0
  let unseen = false
  return (chunk) => {
    if (unseen) return chunk
    held.push(chunk)
    size += chunk.length
    const first = held[0] as Buffer
    // A large message comes in many pieces: they are joined once, when they are enough.
    if (first.length >= framePrefix && size < lengthOf(first, 0) && lengthOf(first, 0) <= limit && first[0] === 0) {
      return Buffer.alloc(0)
    }
    const all = held.length === 1 ? first : Buffer.concat(held)
    const out: Buffer[] = []
    let at = 0
    while (all.length - at >= framePrefix) {
      const length = lengthOf(all, at)
      unseen = all[at] !== 0 || length > limit
      if (unseen || at + length > all.length) break
      const whole = all.subarray(at, at + length)
      const changed = change(whole.subarray(framePrefix))
      out.push(changed ? frame(changed) : whole)
      at += length
    }
    const rest = all.subarray(at)
    if (unseen) out.push(rest)
    held = rest.length > 0 && !unseen ? [rest] : []
    size = held.length > 0 ? rest.length : 0
    return out.length === 1 ? (out[0] as Buffer) : Buffer.concat(out)
  }
}

const lengthOf = (bytes: Buffer, at: number): number => framePrefix + bytes.readUInt32BE(at + 1)
