import { fromBinary } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { type StatusResponse, StatusResponseSchema } from '../../buildkit/gen/control_pb.ts'
import { createProgress } from './progress.ts'

const decode = (messages: readonly Uint8Array[]): StatusResponse[] =>
  messages.map((message) => fromBinary(StatusResponseSchema, message))
const collect = (): { sent: Uint8Array[]; send: (m: Uint8Array) => void } => {
  const sent: Uint8Array[] = []
  return { sent, send: (message) => void sent.push(message) }
}

test('who follows early and who comes late see the same steps', async () => {
  const progress = createProgress()
  const early = collect()
  progress.follow(early.send)
  const step = progress.step('deliver to n2')
  step.log('from n1')
  step.bytes(5, 10)
  step.done('it broke')
  step.log('ignored')
  const late = collect()
  progress.follow(late.send)
  for (const { sent } of [early, late]) {
    const messages = decode(sent)
    expect(new Set(messages.flatMap((m) => m.vertexes.map((v) => v.digest))).size).toBe(1)
    expect(messages[0]?.vertexes[0]).toMatchObject({ name: 'deliver to n2', error: '' })
    expect(messages[0]?.vertexes[0]?.completed).toBeUndefined()
    expect(messages.flatMap((m) => m.logs.map((l) => Buffer.from(l.msg).toString()))).toEqual(['from n1\n'])
    expect(messages.flatMap((m) => m.statuses).at(-1)).toMatchObject({ current: 5n, total: 10n })
    expect(messages.at(-1)?.vertexes[0]).toMatchObject({ error: 'it broke' })
    expect(messages.at(-1)?.vertexes[0]?.completed).toBeDefined()
  }
})

test('bytes come at a pace, and the last of them always', () => {
  let time = 0
  const progress = createProgress({ now: () => new Date(time), pace: 200 })
  const { sent, send } = collect()
  progress.follow(send)
  const step = progress.step('x')
  for (let i = 1; i <= 100; i++) {
    time += 10
    step.bytes(i, 100)
  }
  step.done()
  const numbers = decode(sent).flatMap((m) => m.statuses.map((s) => Number(s.current)))
  expect(numbers.length).toBeLessThan(8)
  expect(numbers.at(-1)).toBe(100)
})

test('the end completes what is open, and who has stopped following hears nothing', async () => {
  const progress = createProgress()
  const gone = collect()
  progress.follow(gone.send)()
  const { sent, send } = collect()
  progress.step('open')
  progress.follow(send)
  progress.end()
  await progress.ended
  expect(decode(sent).at(-1)?.vertexes[0]?.completed).toBeDefined()
  expect(gone.sent).toEqual([])
})

test('a step keeps its last lines only', () => {
  const progress = createProgress()
  const step = progress.step('talkative')
  for (let i = 0; i < 150; i++) step.log(`line ${i}`)
  const { sent, send } = collect()
  progress.follow(send)
  const lines = decode(sent).flatMap((m) => m.logs.map((l) => Buffer.from(l.msg).toString()))
  expect([lines.length, lines[0], lines.at(-1)]).toEqual([100, 'line 50\n', 'line 149\n'])
})
