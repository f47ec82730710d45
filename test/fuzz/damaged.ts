import type { Random } from '../random.ts'

/** Damages bytes in the ways of broken and of hostile senders. */
export function damaged(random: Random, bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes)
  switch (random.int(5)) {
    case 0:
      for (let n = random.int(4); n >= 0 && copy.length > 0; n--) copy[random.int(copy.length)] = random.int(256)
      return copy
    case 1:
      return copy.subarray(0, random.int(copy.length + 1))
    case 2:
      return Buffer.concat([copy.subarray(0, random.int(copy.length + 1)), random.bytes(random.int(40)), copy])
    case 3:
      if (copy.length > 0) copy[random.int(copy.length)]! ^= 1 << random.int(8)
      return copy
    default:
      return copy
  }
}
