import { expect, test } from 'vitest'
import type { Peer } from '../../api/images.ts'
import { createInProgress } from './in-progress.ts'
import { createImageIndex } from './index.ts'
import { createLookups } from './lookup.ts'
import { createOrdinaryImages } from './ordinary-images.ts'

const [a, b] = ['a', 'b'].map((letter) => `sha256:${letter.repeat(64)}`) as [string, string]
const signal = new AbortController().signal

test('a node has what it said last, and nothing when it is gone', () => {
  const images = createOrdinaryImages(() => 0)
  images.set('n1', [a, b, a])
  images.set('n2', [a])
  expect(images.size).toEqual({ digests: 2, copies: 3 })
  images.set('n1', [b])
  expect(images.holders(a, 8)).toEqual(['n2'])
  images.set('n2', [])
  expect(images.holders(a, 8)).toEqual([])
  expect(images.size).toEqual({ digests: 1, copies: 1 })
})

test('of many nodes a few are named, not always the same', () => {
  let at = 0
  const images = createOrdinaryImages(() => at)
  for (let i = 0; i < 100; i++) images.set(`n${i}`, [a])
  expect(images.holders(a, 3)).toEqual(['n0', 'n1', 'n2'])
  at = 0.98
  expect(images.holders(a, 3)).toEqual(['n98', 'n99', 'n0'])
})

test('they are named to those who ask for them only, and built ones come first', async () => {
  const index = createImageIndex()
  const ordinary = createOrdinaryImages()
  const peer = (node: string): Peer => ({ node, host: node, port: 1 })
  const lookups = createLookups({ index, ordinary, inProgress: createInProgress(), peer, load: () => 0 })
  const repository = 'r.test/app'
  const ask = (digest: string, more: object, asking = 'n9') =>
    lookups.lookup({ repository, digest, ...more }, asking, 0, signal)
  ordinary.set('n1', [a, b])
  expect(await ask(a, {})).toEqual({ state: 'none' })
  expect(await ask(a, { ordinary: true })).toMatchObject({ state: 'here', peers: [peer('n1')], image: { digest: a } })
  expect(await ask(a, { ordinary: true }, 'n1')).toEqual({ state: 'none' })
  index.add('n2', { name: `${repository}:v1`, digest: b, version: 5 })
  expect(await ask(b, { ordinary: true })).toMatchObject({ image: { version: 5 }, peers: [peer('n2')] })
  expect(await ask(a, { ordinary: true })).toMatchObject({ peers: [peer('n1')] })
})
