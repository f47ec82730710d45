import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { createLogger } from '../../kernel/log.ts'
import { createLinks } from './links.ts'
import type { Source } from './source.ts'
import { readVerified } from './verified.ts'

const content = Buffer.from(Array.from({ length: 5000 }, (_, i) => (i * 7) % 251))
const digest = `sha256:${createHash('sha256').update(content).digest('hex')}`
const wrong = Buffer.alloc(content.length)

/** A node's answers in turn: what it sends from the offset on, and whether it breaks off after that. */
interface Answer {
  readonly bytes: Buffer
  readonly breaks?: boolean
  readonly size?: number
}

async function read(answers: readonly Answer[]) {
  const opened: number[] = []
  const blamed: string[] = []
  const source: Source = {
    open(_, __, offset) {
      const [index, answer] = [opened.length, answers[opened.length]]
      opened.push(offset)
      if (!answer) return Promise.reject(new Error('nobody is left'))
      async function* chunks(): AsyncGenerator<Buffer> {
        for (let at = 0; at < (answer as Answer).bytes.length; at += 1000) {
          yield (answer as Answer).bytes.subarray(at, at + 1000)
          await Promise.resolve()
        }
        if (answer?.breaks) throw new Error('the line is dead')
      }
      const peer = { node: `n${index}`, host: '192.0.2.1', port: 2376 }
      const body = Readable.from(chunks(), { objectMode: false })
      return Promise.resolve({ peer, size: answer.size ?? content.length, mediaType: 'any', body })
    },
    blame: (peer) => void blamed.push(peer.node),
  }
  const wanted = { repository: 'r.test/a', digest, peers: () => Promise.resolve([]) }
  const options = { source, links: createLinks(), log: createLogger({ level: 'silent' }) }
  const bytes = await readVerified(wanted, 'blobs', options).catch((error: unknown) => error as Error)
  return { bytes, opened, blamed }
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
