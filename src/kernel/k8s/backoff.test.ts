import { expect, test } from 'vitest'
import { createBackoff } from './backoff.ts'

test('waits double up to the limit and start over after a success', () => {
  const backoff = createBackoff({ base: 100, max: 1000, random: () => 1 })
  expect([1, 2, 3, 4, 5, 6].map(() => backoff.next())).toEqual([100, 200, 400, 800, 1000, 1000])
  expect(backoff.failures).toBe(6)
  backoff.reset()
  expect(backoff.next()).toBe(100)
})

test('half of a wait is random', () => {
  expect(createBackoff({ base: 100, random: () => 0 }).next()).toBe(50)
})

test('a very long row of failures stays at the limit', () => {
  const backoff = createBackoff({ random: () => 1 })
  for (let i = 0; i < 5000; i++) backoff.next()
  expect(backoff.next()).toBe(30_000)
})
