import { expect, test } from 'vitest'
import { frame } from './framing.ts'
import { messageRewriter } from './rewrite.ts'

const shout = (message: Uint8Array): Uint8Array | undefined =>
  message[0] === 0x61 ? Buffer.from(Buffer.from(message).toString().toUpperCase()) : undefined

test('messages are changed whatever pieces they come in', () => {
  const sent = Buffer.concat(['abc', 'xyz', '', 'a'].map((text) => frame(Buffer.from(text))))
  const expected = Buffer.concat(['ABC', 'xyz', '', 'A'].map((text) => frame(Buffer.from(text))))
  for (let size = 1; size <= sent.length; size++) {
    const rewrite = messageRewriter(shout, 100)
    const out: Buffer[] = []
    for (let at = 0; at < sent.length; at += size) out.push(rewrite(sent.subarray(at, at + size)))
    expect(Buffer.concat(out)).toEqual(expected)
  }
})

test('a message that is too large or compressed passes unseen, and what follows it is seen again', () => {
  for (const odd of [
    frame(Buffer.alloc(50, 'a')),
    Buffer.concat([Buffer.from([1]), frame(Buffer.from('a')).subarray(1)]),
  ]) {
    const sent = Buffer.concat([frame(Buffer.from('ab')), odd, frame(Buffer.from('ab'))])
    const expected = Buffer.concat([frame(Buffer.from('AB')), odd, frame(Buffer.from('AB'))])
    for (let size = 1; size <= sent.length; size++) {
      const rewrite = messageRewriter(shout, 20)
      const out: Buffer[] = []
      for (let at = 0; at < sent.length; at += size) out.push(rewrite(sent.subarray(at, at + size)))
      expect(Buffer.concat(out)).toEqual(expected)
    }
  }
})

test('it says how much it holds', () => {
  const seen: number[] = []
  const rewrite = messageRewriter(shout, 20, (bytes) => seen.push(bytes))
  const sent = Buffer.concat([frame(Buffer.from('ab')), frame(Buffer.alloc(50))])
  for (const [from, to] of [
    [0, 6],
    [6, 9],
    [9, 30],
  ])
    rewrite(sent.subarray(from, to))
  expect(seen).toEqual([6, 9, 2, 23, 0])
})
