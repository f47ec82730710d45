import { expect, test } from 'vitest'
import { maskCredentials } from './log.ts'

test('user and password of every URL are masked, whatever stands around it', () => {
  expect(maskCredentials('a http://u:p@proxy:3128/x, HTTPS://t0ken@r.lan')).toBe(
    'a http://***@proxy:3128/x, HTTPS://***@r.lan',
  )
  expect(maskCredentials('http://u:p@ss@proxy:3128')).toBe('http://***@proxy:3128')
  expect(maskCredentials(`_${'x'.repeat(100)}http://u:s3cret@proxy`)).not.toContain('s3cret')
  expect(maskCredentials('see https://example.com/@scope and me@example.com')).toBe(
    'see https://example.com/@scope and me@example.com',
  )
})

test.each([
  ['words of a scheme', 'a.'.repeat(200_000)],
  ['schemes', 'a://'.repeat(100_000)],
  ['a user without an end', `a://${'a:'.repeat(200_000)}`],
  ['ends', '://@'.repeat(100_000)],
])('a long text takes time in proportion to its length: %s', (_, text) => {
  for (const most of [Infinity, 390_000]) {
    const started = performance.now()
    maskCredentials(text, most)
    expect(performance.now() - started).toBeLessThan(500)
  }
})

test('a long text is cut, and no cut uncovers what is masked', () => {
  const text = `${'word '.repeat(100)}https://user:s3cret@host/path http://other:s3cret@host ${'x'.repeat(100)}`
  for (let most = 490; most < text.length + 2; most++) {
    const shown = maskCredentials(text, most)
    expect(shown).not.toMatch(/user|other|s3|cret/)
    expect(shown.length).toBeLessThanOrEqual(most + 10)
  }
  expect(maskCredentials(text, 510)).toBe(`${'word '.repeat(100)}https://***…`)
  expect(maskCredentials(text, 525)).toBe(`${'word '.repeat(100)}https://***@host/…`)
})
