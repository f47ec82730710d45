import { expect, test } from 'vitest'
import { fieldCutter } from '../../kernel/grpc/field-cutter.ts'
import { frame } from '../../kernel/grpc/framing.ts'
import { fieldOf } from '../../kernel/grpc/wire.ts'
import { createUsage } from './usage.ts'

const most = 1 << 20
const [recordField, sizeField, descriptionField] = [1, 4, 9]

/** The framed answer of a daemon with so many records, of which a few are large. */
function answerOf(node: number, records: number, description: string): Buffer {
  const record = (i: number): Buffer =>
    Buffer.concat([
      fieldOf(1, `abcdefghijklmnopqrstuvwx${node}-${i}`),
      fieldOf(sizeField, i % 50 === node ? 1e9 + node * 1000 + i : (i * 7919) % 1000),
      fieldOf(descriptionField, `${i} ${description}`),
    ])
  return frame(Buffer.concat(Array.from({ length: records }, (_, i) => fieldOf(recordField, record(i)))))
}

test.for([
  ['long', 'x'.repeat(300)],
  ['short', 'mount / from exec /bin/sh -c apt-get install'],
])('what is kept takes little more memory than it may be long, with %s descriptions', ([, description]) => {
  const usage = createUsage({ descriptions: true, most })
  let highest = 0
  for (let node = 0; node < 50; node++) {
    const answer = answerOf(node, 1000, description!)
    const cutter = fieldCutter(recordField, 16 << 20)
    for (let at = 0; at < answer.length; at += 65_536) {
      // As from a socket: each read has its own memory.
      const chunk = Buffer.allocUnsafeSlow(Math.min(65_536, answer.length - at))
      answer.copy(chunk, 0, at)
      for (const record of cutter.push(chunk)) usage.add(`node-${node}`, record)
    }
    highest = Math.max(highest, usage.memory)
  }
  expect(highest).toBeGreaterThan(most / 2)
  expect(highest).toBeLessThan(1.25 * most)
})
