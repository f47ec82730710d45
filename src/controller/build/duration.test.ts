import { expect, test } from 'vitest'
import { seconds } from './duration.ts'

test.each([
  ['1h30m', 5400],
  ['90s', 90],
  ['0s', 0],
])('%s', (text, expected) => {
  expect(seconds(text, 'timeout')).toBe(expected)
})

test.each(['', '90', '1.5h', '10ms', ' 1h', '1h '])('%j is none', (text) => {
  expect(() => seconds(text, 'timeout')).toThrow('spec.timeout')
})

test('one that goes on and on, which the API server takes, holds nobody up', () => {
  const started = performance.now()
  expect(() => seconds(`${'0'.repeat(200_000)}ns`, 'timeout')).toThrow('spec.timeout')
  expect(performance.now() - started).toBeLessThan(500)
})
