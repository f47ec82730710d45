import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import type { BuildNode } from '../directory/directory.ts'
import type { Call } from '../relay/context.ts'
import { askNode } from './ask.ts'

const node = { name: 'node1' } as BuildNode
const call = {
  signal: new AbortController().signal,
  upstreams: { to: () => Promise.resolve({}) },
} as unknown as Pick<Call, 'signal' | 'upstreams'>
const minute = 60_000

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

it('a node that says something now and then is listened to for longer than the patience with its silence', async () => {
  const records: number[] = []
  const done = askNode(
    call,
    node,
    async (_, __, ___, { renew }) => {
      for (let record = 0; record < 5; record++) {
        await new Promise((resolve) => setTimeout(resolve, 9 * minute))
        renew()
        records.push(record)
      }
      return 'pruned'
    },
    10 * minute,
  )
  await vi.advanceTimersByTimeAsync(45 * minute)
  expect(await done).toBe('pruned')
  expect(records).toHaveLength(5)
})

it('a node that falls silent is given up after the patience', async () => {
  const done = askNode(
    call,
    node,
    (_, __, ___, { renew }) => {
      setTimeout(renew, 9 * minute)
      return new Promise(() => {})
    },
    10 * minute,
  )
  const failed = done.catch((error: unknown) => error)
  await vi.advanceTimersByTimeAsync(18 * minute)
  expect(vi.getTimerCount()).toBe(1)
  await vi.advanceTimersByTimeAsync(minute)
  expect(await failed).toMatchObject({ message: 'node node1 did not answer within 600 s' })
})
