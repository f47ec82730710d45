import { expect, it } from 'vitest'
import { holderPid, parentOf } from './running.ts'

it('reads the holder of a lock and the parent of a process', () => {
  expect(holderPid('insitu agent of worker-1, process 4711\n')).toBe(4711)
  expect(holderPid('')).toBeUndefined()
  expect(parentOf('12 (a) S 3 b) S 34 12 12 0')).toBe(34)
  expect(parentOf('')).toBeUndefined()
})
