/**
 * The protobuf wire format, as far as a handful of small messages need it: https://protobuf.dev/programming-guides/encoding/.
 * A process that reads three fields of four messages saves the 20 MB that a full protobuf runtime keeps resident.
 */
export interface WireField {
  readonly number: number
  /** A varint (numbers, booleans) or the bytes of a length-delimited field (strings, messages). */
  readonly value: bigint | Uint8Array
}

/** Reads the fields of a message in their order. Fixed-width fields are skipped. @throws RangeError when it is cut off. */
export function* readFields(message: Uint8Array): Generator<WireField> {
  let at = 0
  const varint = (): bigint => {
    let result = 0n
    for (let shift = 0n; ; shift += 7n) {
      const byte = message[at++]
      if (byte === undefined || shift > 63n) throw new RangeError('protobuf message is cut off or damaged')
      result |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return result
    }
  }
  while (at < message.length) {
    const tag = varint()
    const number = Number(tag >> 3n)
    const type = Number(tag & 7n)
    if (type === 0) {
      yield { number, value: varint() }
      continue
    }
    const length = type === 2 ? Number(varint()) : type === 1 ? 8 : type === 5 ? 4 : -1
    if (length < 0 || at + length > message.length) throw new RangeError('protobuf message is cut off or damaged')
    if (type === 2) yield { number, value: message.subarray(at, at + length) }
    at += length
  }
}

const text = new TextDecoder()

/** All strings of one repeated (or single) string field. */
export function strings(message: Uint8Array, number: number): string[] {
  return messages(message, number).map((bytes) => text.decode(bytes))
}

/** The first string of a field, or the empty string, which is what protobuf means by an absent one. */
export const string = (message: Uint8Array, number: number): string => strings(message, number)[0] ?? ''

/** All values of a repeated (or single) message field, undecoded. */
export function messages(message: Uint8Array, number: number): Uint8Array[] {
  const found: Uint8Array[] = []
  for (const field of readFields(message)) {
    if (field.number === number && typeof field.value !== 'bigint') found.push(field.value)
  }
  return found
}

/** The last number of a field, or 0. */
export function integer(message: Uint8Array, number: number): number {
  let result = 0
  for (const field of readFields(message)) {
    if (field.number === number && typeof field.value === 'bigint') result = Number(field.value)
  }
  return result
}

/** A `map<string, string>` field. */
export function stringMap(message: Uint8Array, number: number): Record<string, string> {
  return Object.fromEntries(messages(message, number).map((entry) => [string(entry, 1), string(entry, 2)]))
}

/** Encodes one field: a text or an encoded message as length-delimited, a whole number from 0 as a varint. */
export function fieldOf(number: number, value: string | number | Uint8Array): Uint8Array {
  const varint = (n: number): number[] => (n < 0x80 ? [n] : [(n % 0x80) | 0x80, ...varint(Math.floor(n / 0x80))])
  if (typeof value === 'number') return Uint8Array.from([...varint(number << 3), ...varint(value)])
  const bytes = typeof value === 'string' ? Buffer.from(value) : value
  return Buffer.concat([Uint8Array.from([...varint((number << 3) | 2), ...varint(bytes.length)]), bytes])
}
