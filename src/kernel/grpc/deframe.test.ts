import { expect, test } from 'vitest'
import { createDeframer } from './deframe.ts'
import { frame } from './framing.ts'

const message = (size: number, byte: number): Buffer => Buffer.alloc(size, byte)
const sizes = [0, 1, 4, 5, 6, 1000, 70_000]
const sent = sizes.map((size, i) => message(size, i + 1))
const wire = Buffer.concat(sent.map((one) => frame(one)))

test.each([1, 2, 3, 5, 7, 64, 999, 16_384, wire.length])(
  'messages are whole when they come in pieces of %i',
  (piece) => {
    const deframer = createDeframer(1 << 20)
    const got: Buffer[] = []
    // A fresh copy each time, as what a socket reads into is used again.
    for (let at = 0; at < wire.length; at += piece)
      got.push(...deframer.push(Buffer.from(wire.subarray(at, at + piece))))
    expect(got.map((one) => one.length)).toEqual(sizes)
    expect(got.every((one, i) => one.equals(sent[i] as Buffer))).toBe(true)
  },
)

test('a large message that comes byte by byte is not copied for each of them', () => {
  const deframer = createDeframer(1 << 20)
  const body = frame(message(1 << 20, 7))
  let got: Buffer[] = []
  // A copy for each byte would be half a terabyte.
  for (let at = 0; at < body.length; at++) got = deframer.push(body.subarray(at, at + 1))
  expect(got).toHaveLength(1)
  expect(got[0]?.equals(message(1 << 20, 7))).toBe(true)
})

test('what is too large or compressed is refused when its prefix is there', () => {
  const large = frame(message(100, 1))
  expect(() => createDeframer(99).push(Buffer.from(large.subarray(0, 5)))).toThrow('too large')
  expect(() => createDeframer(99).push(Buffer.from([1, 0, 0, 0, 0]))).toThrow('compressed')
})
