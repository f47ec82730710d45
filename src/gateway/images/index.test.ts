import { describe, expect, test } from 'vitest'
import type { BuiltImage } from '../../api/images.ts'
import { createImageIndex } from './index.ts'

const app = 'docker.io/library/app:1'
const sha = (digit: string): string => `sha256:${digit.repeat(64)}`
const image = (digit: string, version: number, name = app): BuiltImage => ({ name, digest: sha(digit), version })

describe('the newest wins', () => {
  test('by version, whatever the order in which nodes are heard of', () => {
    for (const order of [
      [0, 1, 2],
      [2, 1, 0],
      [1, 2, 0],
    ]) {
      const index = createImageIndex()
      const all = [image('a', 1), image('b', 3), image('c', 2)]
      for (const i of order) index.add(`n${i}`, all[i] as BuiltImage)
      expect(index.newest(app)).toEqual(image('b', 3))
      expect(index.holders(image('b', 3))).toEqual(['n1'])
      expect(
        index
          .stale(app)
          .map((s) => s.node)
          .toSorted(),
      ).toEqual(['n0', 'n2'])
    }
  })

  test('on a node, too: what is heard of an older one, late, changes nothing', () => {
    const index = createImageIndex()
    index.add('n1', image('b', 3))
    index.add('n1', image('a', 2))
    expect(index.of('n1')).toEqual([image('b', 3)])
  })

  test('two images of one version are told apart the same way everywhere', () => {
    for (const order of [
      ['a', 'b'],
      ['b', 'a'],
    ]) {
      const index = createImageIndex()
      for (const digit of order) index.add(digit, image(digit, 7))
      expect(index.newest(app)?.digest).toBe(sha('b'))
    }
  })

  test('the next newest counts when its node is gone, and the name goes with the last', () => {
    const index = createImageIndex()
    index.add('n1', image('a', 1))
    index.add('n2', image('b', 2))
    index.forget('n2')
    expect(index.newest(app)).toEqual(image('a', 1))
    index.forget('n1')
    expect(index.newest(app)).toBeUndefined()
    expect(index.size).toEqual({ names: 0, copies: 0, nodes: 0 })
  })
})

describe('versions', () => {
  test('are the clock, but above what is known: also when another gateway’s clock is an hour ahead', () => {
    let now = 1000
    const index = createImageIndex({ now: () => now })
    expect(index.nextVersion(app)).toBe(1000)
    index.add('n1', image('a', 3_600_000))
    expect(index.nextVersion(app)).toBe(3_600_001)
    now = 500
    expect(index.nextVersion(app)).toBeGreaterThan(3_600_001)
  })

  test('are never given twice', () => {
    const index = createImageIndex({ now: () => 5 })
    const given = Array.from({ length: 20 }, () => index.nextVersion(app))
    expect(new Set(given).size).toBe(20)
  })
})

describe('an inventory', () => {
  test('replaces what was known of its node, and only of that', () => {
    const index = createImageIndex()
    const other = 'docker.io/library/other:1'
    index.add('n1', image('a', 1))
    index.add('n2', image('a', 1))
    index.reading('n1')([image('c', 1, other)])
    expect(index.of('n1')).toEqual([image('c', 1, other)])
    expect(index.holders(image('a', 1))).toEqual(['n2'])
  })

  test('does not undo what happened while it was read', () => {
    const index = createImageIndex()
    const gone = 'docker.io/library/gone:1'
    const take = index.reading('n1')
    index.add('n1', image('b', 2))
    index.add('n1', image('c', 2, gone))
    index.remove('n1', gone, 3)
    take([image('a', 1), image('c', 2, gone)])
    expect(index.of('n1')).toEqual([image('b', 2)])
  })
})

test('a digest is found in its repository, else what is newest there', () => {
  const index = createImageIndex()
  index.add('n1', image('a', 1))
  index.add('n2', image('b', 2, 'docker.io/library/app:2'))
  expect(index.byDigest('docker.io/library/app', sha('a'))?.digest).toBe(sha('a'))
  expect(index.byDigest('docker.io/library/app', sha('f'))?.digest).toBe(sha('b'))
  expect(index.byDigest('docker.io/library/none', sha('a'))).toBeUndefined()
})

test('who listens hears of changes, and not of repetitions', () => {
  const index = createImageIndex()
  const heard: string[] = []
  const stop = index.onChange((name) => heard.push(name))
  index.add('n1', image('a', 1))
  index.add('n1', image('a', 1))
  index.reading('n1')([image('a', 1)])
  expect(heard).toEqual([app])
  index.remove('n1', app, 2)
  stop()
  index.add('n1', image('a', 1))
  expect(heard).toEqual([app, app])
})

test('5,000 nodes with 20 images each fit in 40 MiB', () => {
  const index = createImageIndex()
  globalThis.gc?.()
  const before = process.memoryUsage().heapUsed
  for (let node = 0; node < 5000; node++) {
    const said = Array.from({ length: 20 }, (_, i) => image('a', 1, `docker.io/library/app${(node + i) % 500}:1`))
    index.reading(`worker-${node}`)(JSON.parse(JSON.stringify(said)) as BuiltImage[])
  }
  expect(index.size).toEqual({ names: 500, copies: 100_000, nodes: 5000 })
  globalThis.gc?.()
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(globalThis.gc ? 40 << 20 : 160 << 20)
})
