import { PassThrough, Readable, Writable } from 'node:stream'
import { expect, test } from 'vitest'
import { piecesOf } from './pieces.ts'
import { createTurns } from './turns.ts'
import { writeAll } from './write.ts'

const bytes = (count: number): Buffer => Buffer.from(Array.from({ length: count }, (_, i) => (i * 7) % 251))

/** Takes one write at a time, and only later, so that memory that is used again too early would show. */
function slowSink(): { sink: Writable; got: () => Buffer } {
  const got: Buffer[] = []
  const sink = new Writable({
    highWaterMark: 1,
    write(chunk: Buffer, _, done) {
      setImmediate(() => {
        got.push(Buffer.from(chunk))
        done()
      })
    },
  })
  return { sink, got: () => Buffer.concat(got) }
}

test.each([1, 100, 1000, 4096])('every byte arrives, whatever the sizes: chunks of %i', async (chunk) => {
  const all = bytes(10_007)
  const chunks = Array.from({ length: Math.ceil(all.length / chunk) }, (_, i) =>
    all.subarray(i * chunk, (i + 1) * chunk),
  )
  const { sink, got } = slowSink()
  async function* oneHeld(): AsyncGenerator<Buffer> {
    let held: Buffer | undefined
    for await (const piece of piecesOf(Readable.from(chunks, { objectMode: false }), 256)) {
      if (held) yield held
      held = piece
    }
    if (held) yield held
  }
  await writeAll(oneHeld(), sink)
  expect(got().equals(all)).toBe(true)
})

test('a stream that breaks gives what came before, then the error', async () => {
  const body = new PassThrough()
  body.write(bytes(10))
  const pieces = piecesOf(body, 256)
  setImmediate(() => body.destroy(new Error('broken')))
  expect((await pieces.next()).value).toEqual(bytes(10))
  await expect(pieces.next()).rejects.toThrow('broken')
})

test('a reader that leaves ends the writing, though no piece comes', async () => {
  const sink = new PassThrough()
  const body = new PassThrough()
  body.write(bytes(300))
  const writing = writeAll(piecesOf(body, 256), sink)
  sink.once('data', () => sink.destroy())
  await expect(writing).rejects.toThrow('gone')
  body.destroy()
})

test('what cannot be read to its end does not look like an end', async () => {
  const sink = new PassThrough().resume()
  const body = new PassThrough()
  body.write(bytes(10))
  const writing = writeAll(piecesOf(body, 256), sink)
  body.destroy(new Error('broken'))
  await expect(writing).rejects.toThrow('broken')
  expect(sink.destroyed).toBe(true)
})

test('layers of an image take turns in its order; other images do not wait for them', async () => {
  const turns = createTurns()
  const order: number[] = []
  const take = async (image: string, position: number): Promise<() => void> => {
    const end = await turns.begin(image, position)
    order.push(position)
    return end
  }
  const first = await take('a', 0)
  const [third, second] = [take('a', 2), take('a', 1)]
  const other = await take('b', 9)
  expect(order).toEqual([0, 9])
  first()
  const endSecond = await second
  expect(order).toEqual([0, 9, 1])
  endSecond()
  endSecond()
  const endThird = await third
  expect(order).toEqual([0, 9, 1, 2])
  endThird()
  other()
  ;(await take('a', 3))()
})

test('nobody waits longer than containerd has patience', async () => {
  const turns = createTurns(1)
  const first = await turns.begin('a', 0)
  const second = await turns.begin('a', 1)
  first()
  const third = turns.begin('a', 2)
  second()
  expect(await third).toBeTypeOf('function')
})
