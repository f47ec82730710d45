import { expect, it } from 'vitest'
import { createDeleted } from './deleted.ts'

it('a delete is remembered for a moment, for who deleted', () => {
  let now = 1000
  const deleted = createDeleted({ moment: 60, now: () => now })
  deleted.note('alice', 'x')
  expect([deleted.has('alice', 'x'), deleted.has('bob', 'x'), deleted.has('alice', 'y')]).toEqual([true, false, false])
  now += 59
  expect(deleted.has('alice', 'x')).toBe(true)
  now += 1
  expect(deleted.has('alice', 'x')).toBe(false)
})

it('the oldest are forgotten beyond the limit', () => {
  const deleted = createDeleted({ limit: 2 })
  for (const ref of ['a', 'b', 'a', 'c']) deleted.note('alice', ref)
  expect(['a', 'b', 'c'].filter((ref) => deleted.has('alice', ref))).toEqual(['a', 'c'])
})
