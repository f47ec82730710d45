import { describe, expect, it } from 'vitest'
import type { Build } from '../../api/builds/builds.ts'
import { execute, type ExecuteOptions, type Rebuilt, type Result } from './execute.ts'
import { readImages } from './images.ts'
import { planRebuild } from './plan.ts'
import { builtOn, sha } from '../../../test/unit/rebuild-sketch.ts'

const chain = [
  builtOn('a', sha('a'), { os: sha('0') }),
  builtOn('b', sha('b'), { a: sha('a') }),
  builtOn('c', sha('c'), { b: sha('b') }),
  builtOn('x', sha('d'), { os: sha('0') }),
  builtOn('y', sha('e'), { x: sha('d') }),
]
const good = (name: string, digest = sha('1')): Rebuilt => ({ build: `n/${name}-2`, digest, node: 'node-1' })

async function run(
  rebuild: (name: string) => Promise<Rebuilt>,
  more: Partial<ExecuteOptions> = {},
  builds: readonly Build[] = chain,
) {
  const images = readImages(builds, new Map())
  const plan = planRebuild(images, { base: undefined, digests: new Map([['r.io/os:1', { digest: sha('1') }]]) })
  const begun: string[] = []
  const { results, peak } = await execute(plan, images, {
    ...{ parallel: 8, failFast: false, signal: new AbortController().signal },
    rebuild: ({ image }) => {
      begun.push(image.build.metadata?.name ?? '')
      return rebuild(image.build.metadata?.name ?? '')
    },
    ...more,
  })
  const result: Readonly<Record<string, Result>> = Object.fromEntries(
    results.map((one) => [one.image.build.metadata?.name ?? '', one]),
  )
  const kinds = Object.fromEntries(Object.entries(result).map(([name, one]) => [name, one.result]))
  return { begun, peak, result, kinds }
}

describe('a plan', () => {
  it('is worked off so many at a time, each after what it is built on', async () => {
    const over: string[] = []
    const early: string[] = []
    let running = 0
    let most = 0
    const { peak, kinds } = await run(
      async (name) => {
        most = Math.max(most, ++running)
        early.push(...({ b: ['a'], c: ['b'] }[name] ?? []).filter((base) => !over.includes(base)))
        await Promise.resolve()
        running--
        over.push(name)
        return good(name)
      },
      { parallel: 2 },
    )
    expect(new Set(Object.values(kinds))).toEqual(new Set(['rebuilt']))
    expect(early).toEqual([])
    expect([peak, most]).toEqual([2, 2])
  })

  it('is not held up by a slow branch', async () => {
    const slow = Promise.withResolvers<Rebuilt>()
    const { begun } = await run((name) => {
      if (name === 'c') slow.resolve(good('x'))
      return name === 'x' ? slow.promise : Promise.resolve(good(name))
    })
    expect(begun.indexOf('c')).toBeLessThan(begun.indexOf('y'))
  })

  it('goes on beside what failed, and leaves out what is built on that', async () => {
    const { kinds, result } = await run((name) =>
      name === 'a' ? Promise.reject(new Error('no more room')) : Promise.resolve(good(name)),
    )
    expect(kinds).toEqual({ a: 'failed', b: 'skipped', c: 'skipped', x: 'rebuilt', y: 'rebuilt' })
    expect(result['a']).toMatchObject({ reason: 'no more room', to: sha('a') })
    expect(result['c']?.reason).toBe('its base r.io/b:1 was not rebuilt')
  })

  it('with failFast begins nothing more after a failure', async () => {
    const { begun, kinds } = await run((name) => Promise.resolve({ ...good(name), failure: 'exit code: 1' }), {
      failFast: true,
      parallel: 1,
    })
    expect(begun).toEqual(['a'])
    expect(kinds).toEqual({ a: 'failed', b: 'skipped', c: 'skipped', x: 'skipped', y: 'skipped' })
  })

  it('stops where a rebuild came to the same: what is built on it is what it would be', async () => {
    const { begun, kinds } = await run((name) => Promise.resolve(good(name, name === 'a' ? sha('a') : sha('1'))))
    expect(kinds).toMatchObject({ a: 'unchanged', b: 'current', c: 'current', y: 'rebuilt' })
    expect(begun.toSorted()).toEqual(['a', 'x', 'y'])
  })

  it('is left when it is interrupted: nothing more begins, and all is told', async () => {
    const end = new AbortController()
    const { begun, kinds } = await run(
      (name) => {
        if (name === 'a') return Promise.resolve(good(name))
        end.abort(new Error('interrupted'))
        return Promise.reject(end.signal.reason as Error)
      },
      { signal: end.signal, parallel: 1 },
    )
    expect(begun).toEqual(['a', 'x'])
    expect(kinds).toEqual({
      a: 'rebuilt',
      ...{ b: 'interrupted', c: 'interrupted', x: 'interrupted', y: 'interrupted' },
    })
  })
})
