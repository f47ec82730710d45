import { describe, expect, it } from 'vitest'
import {
  badRevision,
  coversPlatform,
  demandKey,
  demandsOf,
  gist,
  matchName,
  namesOf,
  overlap,
  patternOf,
  pullPrefix,
  readPull,
  refusedAnnotation,
  unservedAnnotation,
  retryAfter,
} from './on-pull.ts'

const app = 'images.internal/app:git-${REVISION}'
const commit = 'c'.repeat(40)

describe('names', () => {
  it('fit as they stand, or give the revision that stands in their tag', () => {
    expect(matchName(['images.internal/a:1'], 'images.internal/a:1')).toEqual({ revision: undefined })
    expect(matchName([app], `images.internal/app:git-${commit}`)).toEqual({ revision: commit })
    expect(matchName(['h/a:v${REVISION}-slim'], 'h/a:v1.2-slim')).toEqual({ revision: '1.2' })
    for (const other of ['images.internal/app:git-', 'images.internal/app:v1', 'images.internal/apps:git-x']) {
      expect(matchName([app], other)).toBeUndefined()
    }
  })

  it('of one build have one revision', () => {
    expect(namesOf(['h/a:1', 'h/a:2'], undefined)).toEqual(['h/a:1', 'h/a:2'])
    expect(namesOf([app, 'h/a:v${REVISION}'], commit)).toEqual([`images.internal/app:git-${commit}`, `h/a:v${commit}`])
  })

  it('overlap when one name could be meant by both', () => {
    const both = (one: string, other: string) => overlap(patternOf(one), patternOf(other))
    expect(both(app, app)).toBe(true)
    expect(both(app, `images.internal/app:git-${commit}`)).toBe(true)
    expect(both('images.internal/app:${REVISION}', app)).toBe(true)
    expect(both('h/a:x-${REVISION}', 'h/a:y-${REVISION}')).toBe(false)
    expect(both('h/a:1', 'h/a:2')).toBe(false)
  })
})

describe('a revision', () => {
  it('is a full commit, unless the Build takes any', () => {
    expect(badRevision(commit, undefined)).toBeUndefined()
    expect(badRevision('a'.repeat(64), 'Commits')).toBeUndefined()
    for (const other of ['main', 'c'.repeat(39), 'C'.repeat(40)]) expect(badRevision(other, 'Commits')).toContain(other)
    expect(badRevision('main', 'Any')).toBeUndefined()
    expect(badRevision('v1.2_rc-1', 'Any')).toBeUndefined()
  })

  it.each(['-x', '.x', 'a..b', 'a.lock', 'a.', 'a b', 'a:b', 'a/b', 'a\nb', 'a#b', '${X}', ''])(
    'is not %j, whatever a Build takes',
    (text) => expect(badRevision(text, 'Any')).toBeDefined(),
  )
})

describe('demands', () => {
  const demand = { name: 'h/a:1', platform: 'linux/amd64', asked: 'n1', at: '2026-01-01T00:00:00.000Z' }
  const key = demandKey(demand.name, demand.platform)

  it('are read from annotations, and what is none is told apart', () => {
    const found = demandsOf({
      [key]: JSON.stringify({ ...demand, elsewhere: 'x'.repeat(1000) }),
      [`${pullPrefix}broken`]: '{',
      [`${pullPrefix}shell`]: JSON.stringify({ ...demand, asked: '$(id)' }),
      [refusedAnnotation]: 'no',
      [unservedAnnotation]: 'no',
      other: JSON.stringify(demand),
    })
    expect([...found.keys()]).toEqual([key, `${pullPrefix}broken`, `${pullPrefix}shell`])
    expect(found.get(key)).toEqual({ ...demand, elsewhere: 'x'.repeat(500) })
    expect([...found.values()].slice(1)).toEqual([undefined, undefined])
  })

  it('have keys that are annotations, one for each name and platform', () => {
    expect(key.slice(pullPrefix.length).length).toBeLessThanOrEqual(63)
    expect(new Set([key, demandKey('h/a:2', 'linux/amd64'), demandKey('h/a:1', undefined)]).size).toBe(3)
  })

  it('become Builds that say what they are for', () => {
    const old = { name: 'h/a:1', platforms: ['linux/amd64'], generation: 2, failures: 1, asked: 'n1' }
    const pull = { ...old, names: ['h/a:1', 'h/a:2'] }
    expect(readPull(JSON.stringify(pull))).toEqual(pull)
    expect(readPull(JSON.stringify(old))).toEqual({ ...old, names: ['h/a:1'] })
    for (const text of [undefined, '', '[]', '{"name":1}', '{"name":"a"}']) expect(readPull(text)).toBeUndefined()
  })
})

it('failures are tried again after 30 s, 1, 2, 4 and then every 5 minutes', () => {
  expect([1, 2, 3, 4, 5, 6, 100].map(retryAfter)).toEqual([30, 60, 120, 240, 300, 300, 300])
})

it('what was built for a processor serves its variants, and nothing else', () => {
  expect(coversPlatform(['linux/arm64/v8'], 'linux/arm64')).toBe(true)
  expect(coversPlatform(['linux/amd64', 'linux/arm64'], 'linux/arm64')).toBe(true)
  expect(coversPlatform(['linux/arm'], 'linux/arm64')).toBe(false)
  expect(coversPlatform([], 'linux/arm64')).toBe(true)
})

it('what buildctl says at the end of a failed build becomes one line', () => {
  const message = [
    '#6 [2/2] RUN make',
    '#6 0.294 no rule to make target',
    '#6 ERROR: process "/bin/sh -c make" did not complete successfully: exit code: 2',
    '------',
    ' > [2/2] RUN make:',
    '0.294 no rule to make target',
    '------',
    'Dockerfile:2',
    '--------------------',
    '   1 |     FROM busybox',
    '   2 | >>> RUN make',
    '--------------------',
    'error: failed to solve: exit code: 2',
    '',
  ].join('\n')
  expect(gist(message)).toBe('0.294 no rule to make target; error: failed to solve: exit code: 2')
  expect(gist('#1 nothing else\n')).toBe('#1 nothing else')
  expect(gist('')).toBe('it said nothing')
  expect(gist('x'.repeat(1000))).toHaveLength(500)
})
