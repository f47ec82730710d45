import { describe, expect, it } from 'vitest'
import type { Build } from '../../api/builds/builds.ts'
import { parseBase } from './base-query.ts'
import { type Image, readImages } from './images.ts'
import { askedNames, type Current, planRebuild, type Question } from './plan.ts'
import { builtOn, sha, sketchBuild } from '../../../test/unit/rebuild-sketch.ts'

const [old, now] = [sha('0'), sha('1')]
const moved: ReadonlyMap<string, Current> = new Map([['r.io/os:1', { digest: now }]])
const plan = (builds: readonly Build[], question: Partial<Question> = {}) => {
  const images = readImages(builds, new Map())
  const { steps, skipped, current } = planRebuild(images, { base: undefined, digests: moved, ...question })
  const name = ({ build }: Image): string => build.metadata?.name ?? ''
  return {
    levels: Object.fromEntries(steps.map(({ image, level }) => [name(image), level])),
    order: steps.map(({ image }) => name(image)),
    skipped: Object.fromEntries(skipped.map(({ image, reason }) => [name(image), reason])),
    unknown: skipped
      .filter(({ unknown }) => unknown)
      .map(({ image }) => name(image))
      .toSorted(),
    current: current.map(name).toSorted(),
    steps,
  }
}

describe('what is to be rebuilt', () => {
  const chain = [
    builtOn('c', sha('c'), { b: sha('b'), os: old }),
    builtOn('b', sha('b'), { a: sha('a') }),
    builtOn('a', sha('a'), { os: old }),
    builtOn('fresh', sha('f'), { os: now }),
    builtOn('other', sha('e'), { else: old }),
  ]

  it('is what is built on a base that moved, and what is built on that, after it', () => {
    const { levels, order, current, skipped } = plan(chain)
    expect(levels).toEqual({ a: 0, b: 1, c: 2 })
    expect(order).toEqual(['a', 'b', 'c'])
    expect(current).toEqual(['fresh', 'other'])
    expect(skipped).toEqual({})
  })

  it('says which bases, from what, and to what where that is known before', () => {
    const { steps } = plan(chain)
    expect(steps.find(({ image }) => image.id === 'n/c')?.because).toEqual([
      { name: 'r.io/os:1', from: old, to: now },
      { name: 'r.io/b:1', from: sha('b'), to: undefined },
    ])
  })

  it('with --base is only what uses that one; with a digest only what was built on it', () => {
    const digests = new Map([...moved, ['r.io/else:1', { digest: now }]])
    expect(plan(chain, { digests, base: parseBase('r.io/else:1') }).order).toEqual(['other'])
    expect(plan(chain, { digests }).order).toContain('other')
    expect(plan(chain, { base: parseBase(`r.io/os@${old}`) }).order).toEqual(['a', 'b', 'c'])
    expect(plan(chain, { base: parseBase(`r.io/os:1@${sha('9')}`) })).toMatchObject({ order: [], current: [] })
  })

  it('takes an image of a Build as a base without a registry, also one that moved before', () => {
    const builds = [builtOn('b', sha('b'), { a: sha('0') }), builtOn('a', sha('a'), {})]
    expect(plan(builds).levels).toEqual({ b: 0 })
    expect(askedNames(readImages(builds, new Map()), undefined)).toEqual([])
    expect(plan(builds, { base: parseBase('r.io/a:1') }).levels).toEqual({ b: 0 })
  })

  it('leaves a circle out, with those behind it, and says which', () => {
    const builds = [
      builtOn('a', sha('a'), { b: sha('b'), os: old }),
      builtOn('b', sha('b'), { a: sha('a') }),
      builtOn('behind', sha('c'), { b: sha('b') }),
      builtOn('free', sha('d'), { os: old }),
      builtOn('itself', sha('e'), { itself: sha('9'), os: old }),
    ]
    const { order, skipped } = plan(builds)
    expect(order).toEqual(['free', 'itself'])
    expect(skipped).toMatchObject({
      a: 'it is built from itself: r.io/a:1 → r.io/b:1 → r.io/a:1',
      behind: expect.stringContaining('behind a circle') as string,
    })
  })

  it('is not what somebody wrote the digest of down, what is cancelled or under way, or what nobody knows', () => {
    const status = (more: object) => ({ status: { phase: 'Succeeded', ...more } as const })
    const running = { trigger: 'Now' } as const
    const builds = [
      builtOn('written', sha('a'), {}, status({ bases: [{ name: 'r.io/os:1', digest: old, pinned: true }] })),
      builtOn('author', sha('a'), { os: old }, { spec: { bases: [{ name: 'r.io/os:1', digest: old }] } }),
      builtOn('again', sha('b'), { os: old }),
      sketchBuild('again-2', { second: 5, spec: { ...running, output: { names: ['r.io/again:1'] } } }),
      sketchBuild('git', { spec: { source: { git: { url: 'https://h/a.git' } } } }),
      sketchBuild('never', {
        spec: { source: { dockerfile: 'FROM r.io/os:1' } },
        status: { phase: 'Failed', completionTime: 'x' },
      }),
    ]
    const { order, skipped } = plan(builds)
    expect(order).toEqual([])
    expect(skipped).toMatchObject({
      written: 'its author wrote the digest of r.io/os:1 down',
      author: 'its author wrote the digest of r.io/os:1 down',
      again: 'Build n/again-2 of this image is under way',
      git: expect.stringContaining('under way') as string,
      never: 'it names r.io/os:1 and was never built',
    })
    // Who asks for this base wants also what could not be built on the former one.
    expect(plan(builds, { base: parseBase('r.io/os:1') }).order).toEqual(['never'])
  })

  it('is nothing where the registry does not answer, which is told', () => {
    const digests = new Map([['r.io/os:1', { error: 'silence' }]])
    expect(plan(chain, { digests })).toMatchObject({
      order: [],
      skipped: { a: 'silence' },
      unknown: ['a', 'c', 'fresh'],
    })
  })

  it('keeps to what is selected; the rest are bases all the same', () => {
    expect(plan(chain, { selected: ({ id }) => id !== 'n/b' }).levels).toEqual({ a: 0, c: 0 })
  })

  it('orders ten thousand images at once', () => {
    const builds = Array.from({ length: 10_000 }, (_, i) =>
      builtOn(`i${i}`, sha('a'), i < 100 ? { os: old } : { [`i${i % 100}`]: sha('a') }),
    )
    const { steps } = plan(builds)
    expect(steps).toHaveLength(10_000)
    expect(steps.filter(({ level }) => level === 0)).toHaveLength(100)
  })
})

describe('--base', () => {
  it.each([
    ['debian', { name: 'docker.io/library/debian:latest', digest: undefined }],
    ['r.io:5000/a/b:1', { name: 'r.io:5000/a/b:1', repository: 'r.io:5000/a/b' }],
    [`r.io:5000/a@${old}`, { name: undefined, repository: 'r.io:5000/a', digest: old }],
  ])('%s', (text, expected) => expect(parseBase(text)).toMatchObject(expected))

  it.each(['', 'A:1', 'a@sha256:1', 'a b'])('refuses %j', (text) => expect(() => parseBase(text)).toThrow(/--base/))
})
