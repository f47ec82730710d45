import { Readable, Writable } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { passOn } from './pass-on.ts'

const record = 16 << 10
const noise = (bytes: number): Buffer => Buffer.from(Array.from({ length: bytes }, (_, i) => (i * 7) % 251))

/** A socket that takes its writes when it is told to. */
function sink() {
  const got: Buffer[] = []
  const writes: number[] = []
  let release: (() => void) | undefined
  let open = true
  const take = (chunks: readonly Buffer[], done: () => void): void => {
    got.push(...chunks)
    writes.push(chunks.reduce((sum, { length }) => sum + length, 0))
    if (open) done()
    else release = done
  }
  const stream = new Writable({
    highWaterMark: 64 << 10,
    write: (chunk: Buffer, _, done) => take([chunk], done),
    writev: (chunks, done) =>
      take(
        chunks.map(({ chunk }) => chunk as Buffer),
        done,
      ),
  })
  return {
    stream,
    writes,
    bytes: () => Buffer.concat(got),
    stop: () => (open = false),
    go() {
      open = true
      release?.()
    },
  }
}

test('what comes in one turn of the event loop leaves with few writes, all of it and its end', async () => {
  const all = noise(10 * record + 77)
  const to = sink()
  const from = new Readable({ read() {}, highWaterMark: 1 << 20 })
  passOn(from, to.stream)
  await turn()
  for (let at = 0; at < all.length; at += record) from.push(all.subarray(at, at + record))
  from.push(null)
  await new Promise((resolve) => to.stream.once('finish', resolve))
  expect(to.bytes().equals(all)).toBe(true)
  expect(to.writes.length).toBeLessThanOrEqual(4)
})

test('a single piece leaves within the turn in which it came', async () => {
  const to = sink()
  const from = new Readable({ read() {} })
  passOn(from, to.stream)
  from.push('one')
  await turn()
  await turn()
  expect(to.bytes().toString()).toBe('one')
})

test('who does not read stops who sends, and nothing is lost', async () => {
  const all = noise(200 * record)
  const to = sink()
  let sent = 0
  const from = new Readable({
    read() {
      this.push(sent === all.length ? null : all.subarray(sent, (sent += record)))
    },
  })
  to.stop()
  passOn(from, to.stream)
  for (let n = 0; n < 100; n++) await turn()
  const held = sent
  for (let n = 0; n < 100; n++) await turn()
  expect(sent).toBe(held)
  expect(held).toBeLessThan(1 << 20)
  to.go()
  await new Promise((resolve) => to.stream.once('finish', resolve))
  expect(to.bytes().equals(all)).toBe(true)
})
