import type { RawHeaders } from '../raw-headers.ts'
import { staticFields, staticNames } from './static-table.ts'

/** Most bytes of an integer of ours. */
const integerBytes = 6

/**
 * Encodes a header block with the static table and literals only, so that blocks do not depend on each other and
 * nothing secret stays in anybody's table. @param first the first block of a connection says that the table is empty.
 */
export function encodeHeaders(headers: RawHeaders, first: boolean): Buffer {
  let most = 1
  for (const text of headers) most += text.length + 2 * integerBytes
  const block = Buffer.allocUnsafe(most)
  let at = 0

  const integer = (pattern: number, bits: number, value: number): void => {
    const mask = (1 << bits) - 1
    if (value < mask) {
      block[at++] = pattern | value
      return
    }
    block[at++] = pattern | mask
    let rest = value - mask
    while (rest >= 0x80) {
      block[at++] = (rest & 0x7f) | 0x80
      rest >>>= 7
    }
    block[at++] = rest
  }
  const string = (text: string): void => {
    integer(0, 7, text.length)
    at += block.write(text, at, 'latin1')
  }

  if (first) integer(0x20, 5, 0)
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i]!
    const value = headers[i + 1]!
    const whole = staticFields.get(`${name}\0${value}`)
    if (whole !== undefined) {
      integer(0x80, 7, whole)
      continue
    }
    const known = staticNames.get(name)
    integer(0, 4, known ?? 0)
    if (known === undefined) string(name)
    string(value)
  }
  return block.subarray(0, at)
}
