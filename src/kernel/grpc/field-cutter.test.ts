import { expect, test } from 'vitest'
import { fieldCutter } from './field-cutter.ts'
import { frame } from './framing.ts'
import { fieldOf } from './wire.ts'

const values = [0, 1, 5, 127, 128, 1000, 70_000].map((size, i) => Buffer.alloc(size, i + 1))
/** Values of field 1 among others of every type. */
const message = Buffer.concat([
  fieldOf(2, 300),
  ...values.flatMap((value, i) => [fieldOf(1, value), fieldOf(20, `text ${i}`)]),
  ...[Buffer.from([(3 << 3) | 1, 1, 2, 3, 4, 5, 6, 7, 8]), Buffer.from([(4 << 3) | 5, 1, 2, 3, 4]), fieldOf(1, 7)],
  fieldOf(1, 'last'),
])
const body = frame(message)

test.each([1, 2, 3, 5, 7, 64, 999, 16_384, body.length])('values are whole when they come in pieces of %i', (piece) => {
  const cutter = fieldCutter(1, 1 << 20)
  const got: Buffer[] = []
  for (let at = 0; at < body.length; at += piece) got.push(...cutter.push(Buffer.from(body.subarray(at, at + piece))))
  expect(got.map(String)).toEqual([...values, 'last'].map(String))
})

test('a message that is too large is refused when its length is there, as is what is damaged', () => {
  const push = (bytes: readonly number[]) => fieldCutter(1, 99).push(Buffer.from(bytes))
  expect(() => push([0, 0, 0, 0, 100])).toThrow('too large')
  expect(() => push([1, 0, 0, 0, 9])).toThrow('compressed')
  // A field longer than all of it, a type that there is not, a number without end.
  expect(() => push([0, 0, 0, 0, 9, 10, 100])).toThrow('damaged')
  expect(() => push([0, 0, 0, 0, 9, 15])).toThrow('damaged')
  expect(() => push([0, 0, 0, 0, 30, ...Array<number>(11).fill(255)])).toThrow('damaged')
})
