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

/** A varint that begins there, and where it ends; undefined while it is not complete. */
function varintAt(bytes: Uint8Array, at: number): { readonly value: number; readonly end: number } | undefined {
  let value = 0
  for (let i = 0; at + i < bytes.length; i++) {
    const byte = bytes[at + i] as number
    value += (byte & 0x7f) * 2 ** (7 * i)
    if (byte < 0x80) return { value, end: at + i + 1 }
    if (i === 9) break
  }
  if (bytes.length - at >= 10) throw new RangeError('protobuf message is damaged')
  return undefined
}

/** Where a field and its value are. */
export interface FieldPlace {
  readonly number: number
  readonly type: number
  /** Of a varint (type 0). Negative ones and those beyond 2^53 are not exact. */
  readonly value: number
  /** Of the value of other types, which may end behind what is there. */
  readonly from: number
  readonly to: number
}

/** The field that begins there, for messages that come in pieces or are many; undefined while its head is not complete. */
export function fieldAt(bytes: Uint8Array, at: number): FieldPlace | undefined {
  const tag = varintAt(bytes, at)
  if (!tag) return undefined
  const [number, type] = [Math.floor(tag.value / 8), tag.value % 8]
  const head = type === 0 || type === 2 ? varintAt(bytes, tag.end) : { value: type === 1 ? 8 : 4, end: tag.end }
  if (!head) return undefined
  if (type > 2 && type !== 5) throw new RangeError('protobuf message is damaged')
  return { number, type, value: head.value, from: head.end, to: head.end + (type === 0 ? 0 : head.value) }
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
