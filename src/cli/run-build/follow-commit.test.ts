import { expect, it } from 'vitest'
import { followProgress } from './follow.ts'

const commitOf = (revision: string | undefined, lines: readonly string[]): string | undefined => {
  const followed = followProgress({ revision })
  for (const line of lines) followed.line(line)
  return followed.commit
}
const [a, d, e, f] = ['a', 'd', 'e', 'f'].map((digit) => digit.repeat(40))
/** What other steps say of other repositories. */
const others = [
  '#4 [1/3] ADD https://git.test/lib.git#v1 /lib',
  `#4 0.158 ${e}\trefs/tags/v1`,
  `#4 0.158 ${d}\trefs/tags/v1^{}`,
  '#5 [2/3] RUN git ls-remote https://git.test/lib.git; echo [internal] load git source x',
  `#5 1.2 ${f}\tHEAD`,
  '#5 1.3 #5 [internal] load git source x',
  `#5 1.4 ${f} refs/tags/v1^{}`,
]

it.each(['[internal]', '[linux/arm64 internal]', '[linux/amd64,linux/arm64 internal]'])(
  'names the commit that the context is (%s), and none of another step',
  (stage) => {
    const context = `#3 ${stage} load git source https://git.test/a.git#v1`
    // Nothing is said where the daemon knows the revision from a moment ago.
    expect(commitOf('v1', [context, '#3 CACHED', ...others])).toBeUndefined()
    const own = [context, `#3 0.2 ${a}\trefs/heads/v1`]
    expect(commitOf('v1', [...own, ...others])).toBe(a)
    expect(commitOf('v1', [...others, ...own])).toBe(a)
  },
)

it.each([
  ['main', 'refs/heads/main', 'refs/heads/a/main'],
  ['refs/heads/main', 'refs/heads/main', 'refs/heads/refs/heads/main'],
  ['v1', 'refs/tags/v1', 'refs/heads/old/v1'],
  ['v1', 'refs/heads/v1', 'refs/tags/v1^{}'],
  ['v1', 'refs/tags/v1^{}', 'refs/tags/v1'],
  ['v1', 'refs/tags/v1^{}', 'refs/tags/old/v1^{}'],
  ['tags/v1', 'refs/tags/v1^{}', 'refs/tags/v1'],
  ['refs/tags/v1', 'refs/tags/v1^{}', 'refs/tags/v1'],
  [undefined, 'HEAD', 'refs/heads/a/main'],
])('of names that end in %s BuildKit takes %s, and not %s', (revision, name, other) => {
  const context = '#2 [internal] load git source https://git.test/a.git'
  const lines = [`#2 0.158 ${a}\t${name}`, `#2 0.158 ${e}\t${other}`]
  expect(commitOf(revision, [context, ...lines])).toBe(a)
  expect(commitOf(revision, [context, ...lines.toReversed()])).toBe(a)
})

it('takes a revision that is a commit for what was built, whatever a step says', () => {
  for (const revision of ['b'.repeat(40), 'b'.repeat(64)]) expect(commitOf(revision, others)).toBe(revision)
  for (const revision of ['v1', 'b'.repeat(39), 'B'.repeat(40)]) expect(commitOf(revision, others)).toBeUndefined()
})

it('knows none where the context is no repository', () => {
  const followed = followProgress()
  for (const line of others) followed.line(line)
  expect(followed.commit).toBeUndefined()
})
