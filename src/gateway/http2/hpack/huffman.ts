import { compressionError } from '../errors.ts'

/**
 * Bits of each symbol's code, RFC 7541 appendix B; the last one is EOS. The code is canonical: codes of one length are
 * consecutive in the order of the symbols, so the lengths are the whole table.
 */
const lengths = Uint8Array.from(
  [
    '13 23 28 28 28 28 28 28 28 24 30 28 28 30 28 28 28 28 28 28 28 28 30 28 28 28 28 28 28 28 28 28',
    '6 10 10 12 13 6 8 11 10 10 8 11 8 6 6 6 5 5 5 6 6 6 6 6 6 6 7 8 15 6 12 10',
    '13 6 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 8 7 8 13 19 13 14 6',
    '15 5 6 5 6 5 6 6 6 5 7 7 6 6 6 5 6 7 6 5 5 6 7 7 7 7 7 15 11 14 13 28',
    '20 22 20 20 22 22 22 23 22 23 23 23 23 23 24 23 24 24 22 23 24 23 23 23 23 21 22 23 22 23 23 24',
    '22 21 20 22 22 23 23 21 23 22 22 24 21 22 23 23 21 21 22 21 23 22 23 23 20 22 22 22 23 22 22 23',
    '26 26 20 19 22 23 22 25 26 26 26 27 27 26 24 25 19 21 26 27 27 26 27 24 21 21 26 26 28 27 27 27',
    '20 24 20 21 22 21 21 23 22 22 25 25 24 24 26 23 26 27 26 26 27 27 27 27 27 28 27 27 27 27 27 26',
    '30',
  ]
    .join(' ')
    .split(' ')
    .map(Number),
)
const longest = 30
const endOfString = 256

/** By code length: the first code, how many there are, and where their symbols start in `symbols`. */
const first = new Int32Array(longest + 1)
const count = new Int32Array(longest + 1)
const offset = new Int32Array(longest + 1)
const symbols = Uint16Array.from([...lengths.keys()].toSorted((a, b) => lengths[a]! - lengths[b]! || a - b))
for (const length of lengths) count[length]!++
for (let length = 1, code = 0, at = 0; length <= longest; length++) {
  code <<= 1
  first[length] = code
  offset[length] = at
  code += count[length]!
  at += count[length]!
}

/** @throws Http2Error COMPRESSION_ERROR for padding that is too long or not of ones, and for EOS inside. */
export function decodeHuffman(bytes: Uint8Array): string {
  // The shortest code has five bits.
  const decoded = Buffer.allocUnsafe(Math.ceil((bytes.length * 8) / 5))
  let written = 0
  let code = 0
  let length = 0
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      code = (code << 1) | ((byte >> bit) & 1)
      length++
      const index = code - first[length]!
      if (index < 0 || index >= count[length]!) {
        if (length === longest) throw compressionError('an unknown Huffman code')
        continue
      }
      const symbol = symbols[offset[length]! + index]!
      if (symbol === endOfString) throw compressionError('end of string inside of a string')
      decoded[written++] = symbol
      code = 0
      length = 0
    }
  }
  if (length > 7 || code !== (1 << length) - 1) throw compressionError('wrong padding of a Huffman string')
  return decoded.toString('latin1', 0, written)
}
