import { describe, expect, it } from 'vitest'
import { integer, messages, readFields, string, stringMap, strings } from './wire.ts'

// field 1 varint 300 · field 2 "ab" · field 2 "c" · field 3 fixed32 · field 4 { 1: "k", 2: "v" }
const message = Uint8Array.of(8, 0xac, 2, 18, 2, 97, 98, 18, 1, 99, 29, 1, 2, 3, 4, 34, 6, 10, 1, 107, 18, 1, 118)

describe('the protobuf wire format', () => {
  it('is read field by field, fixed-width ones skipped', () => {
    expect([...readFields(message)].map((field) => field.number)).toEqual([1, 2, 2, 4])
    expect(integer(message, 1)).toBe(300)
    expect(strings(message, 2)).toEqual(['ab', 'c'])
    expect(string(message, 9)).toBe('')
    expect(stringMap(message, 4)).toEqual({ k: 'v' })
    expect(messages(message, 4)).toHaveLength(1)
  })

  it.each([[[8]], [[18, 5, 97]], [[29, 1]], [[11]]])('refuses %j, which is cut off or unknown', (bytes) => {
    expect(() => [...readFields(Uint8Array.from(bytes))]).toThrow(RangeError)
  })
})
