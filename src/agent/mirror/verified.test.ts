import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { describe, expect, it, test } from 'vitest'
import { createLogger } from '../../kernel/log.ts'
import { createLinks } from './links.ts'
import type { Source } from './source.ts'
import { readVerified, verifiedBytes } from './verified.ts'

const content = Buffer.from(Array.from({ length: 5000 }, (_, i) => (i * 7) % 251))
const digestOf = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`
const digest = digestOf(content)
const wrong = Buffer.alloc(content.length)

/** A node's answers in turn: what it sends from the offset on, and whether it breaks off after that. */
interface Answer {
  readonly bytes: Buffer
  readonly breaks?: boolean
  readonly size?: number
}

/** Nodes that answer in turn, with a blob of this size unless they say another one. */
function answering(answers: readonly Answer[], whole: number, chunk = 1000) {
  const opened: number[] = []
  const blamed: string[] = []
  const source: Source = {
    open(_, __, offset) {
      const [index, answer] = [opened.length, answers[opened.length]]
      opened.push(offset)
      if (!answer) return Promise.reject(new Error('nobody is left'))
      async function* chunks(): AsyncGenerator<Buffer> {
        for (let at = 0; at < (answer as Answer).bytes.length; at += chunk) {
          yield (answer as Answer).bytes.subarray(at, at + chunk)
          await Promise.resolve()
        }
        if (answer?.breaks) throw new Error('the line is dead')
      }
      const peer = { node: `n${index}`, host: '192.0.2.1', port: 2376 }
      const body = Readable.from(chunks(), { objectMode: false })
      return Promise.resolve({ peer, size: answer.size ?? whole, mediaType: 'any', body })
    },
    blame: (peer) => void blamed.push(peer.node),
  }
  return { opened, blamed, options: { source, links: createLinks(), log: createLogger({ level: 'silent' }) } }
}

const blobOf = (of: string) => ({ repository: 'r.test/a', digest: of, peers: () => Promise.resolve([]) })

async function read(answers: readonly Answer[]) {
  const { opened, blamed, options } = answering(answers, content.length)
  const bytes = await readVerified(blobOf(digest), 'blobs', options).catch((error: unknown) => error as Error)
  return { bytes, opened, blamed }
}

/** Reads a blob as it flows. @returns what was given out, and what ended it. */
async function flow(blob: Buffer, answers: readonly Answer[], { chunk = 1000, offset = 0 } = {}) {
  const { opened, blamed, options } = answering(answers, blob.length, chunk)
  const wanted = blobOf(digestOf(blob))
  const given: Buffer[] = []
  let error: unknown
  try {
    const first = await options.source.open(wanted, 'blobs', offset)
    // The memory of a piece is used again.
    for await (const piece of verifiedBytes(wanted, first, offset, options)) given.push(Buffer.from(piece))
  } catch (thrown) {
    error = thrown
  }
  return { given: Buffer.concat(given), error, opened, blamed }
}

test('a small blob goes on at another node at the very byte where one broke off', async () => {
  const part = { bytes: content.subarray(0, 2000) }
  const rest = { bytes: content.subarray(2000) }
  const whole = { bytes: content, opened: [0, 2000], blamed: [] }
  expect(await read([{ ...part, breaks: true }, rest])).toEqual(whole)
  // An end that looks like one.
  expect(await read([part, rest])).toEqual(whole)
  expect(await read([{ bytes: content }])).toEqual({ ...whole, opened: [0] })
})

test('one that gives wrong bytes, or too many, is blamed, and another gives them all', async () => {
  const right = { bytes: content }
  expect(await read([{ bytes: wrong }, right])).toEqual({ bytes: content, opened: [0, 0], blamed: ['n0'] })
  const longer = await read([{ bytes: Buffer.concat([wrong, wrong]) }, right])
  expect(longer).toEqual({ bytes: content, opened: [0, 0], blamed: ['n0'] })
})

test('nobody is left, or somebody says that it is far larger than what is read at once', async () => {
  expect((await read([{ bytes: content.subarray(0, 10), breaks: true }])).bytes).toMatchObject({
    message: 'nobody is left',
  })
  expect((await read([{ bytes: content, size: 1 << 30 }])).bytes).toMatchObject({ code: 'PEERS_FAILED' })
})

/** Of several pieces of 256 KiB the last is whole, or a part, or one byte; a smaller blob is one piece. */
const sizes = [1, 5000, 256 << 10, (256 << 10) + 1, 600_000, 1 << 20]
const large = (size: number): Buffer => Buffer.alloc(size, content)
const damaged = (blob: Buffer, at: number): Buffer => {
  const copy = Buffer.from(blob)
  copy.writeUInt8(copy.readUInt8(at) ^ 1, at)
  return copy
}

describe.each(sizes)('a blob of %i bytes that flows', (size) => {
  const blob = large(size)
  const half = size >> 1
  const [before, after] = [blob.subarray(0, half), blob.subarray(half)]

  it.each([1 << 10, 16 << 10, 300_000])('in chunks of %i is all there', async (chunk) => {
    const { given, error } = await flow(blob, [{ bytes: blob }], { chunk })
    expect(error).toBeUndefined()
    expect(given.equals(blob)).toBe(true)
  })

  it.each([1 << 10, 16 << 10, 300_000])('in chunks of %i is never given out to its end when damaged', async (chunk) => {
    for (const at of [0, half, size - 1]) {
      const { given, error, blamed } = await flow(blob, [{ bytes: damaged(blob, at) }], { chunk })
      expect(error).toMatchObject({ code: 'DIGEST_MISMATCH' })
      expect(given.length).toBeLessThan(size)
      expect(blamed).toEqual(['n0'])
    }
  })

  it('goes on elsewhere where it broke off, and all who gave something are blamed for damage', async () => {
    const first = { bytes: before, breaks: true }
    const right = await flow(blob, [first, { bytes: after }])
    expect(right).toMatchObject({ error: undefined, opened: [0, half] })
    expect(right.given.equals(blob)).toBe(true)
    const broken = await flow(blob, [first, { bytes: damaged(after, after.length - 1) }])
    expect(broken).toMatchObject({ error: { code: 'DIGEST_MISMATCH' }, blamed: ['n0', 'n1'] })
    expect(broken.given.length).toBeLessThan(size)
  })

  it('is not given out to its end when its line breaks behind damage in the last byte, or more comes', async () => {
    const bytes = damaged(blob, size - 1)
    for (const answer of [
      { bytes, breaks: true },
      { bytes: Buffer.concat([blob, blob]), size },
    ]) {
      const { given, error } = await flow(blob, [answer])
      expect(error).toBeInstanceOf(Error)
      expect(given.length).toBeLessThan(size)
    }
  })
})

test('a blob from an offset on is given as it comes: nothing of it can be proved', async () => {
  const blob = large(600_000)
  const bytes = damaged(blob, 599_999).subarray(1000)
  const { given, error } = await flow(blob, [{ bytes }], { offset: 1000 })
  expect(error).toBeUndefined()
  expect(given.equals(bytes)).toBe(true)
})
