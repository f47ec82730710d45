import { expect, it } from 'vitest'
import type { FileSystemUse } from '../../api/disk.ts'
import { collectionFor, collectionKeys } from './collection.ts'

const marks = { low: 700, high: 800, limit: 850 }
const fs = (...holds: string[]): FileSystemUse => ({
  holds,
  path: '/',
  bytes: { total: 1000, used: 0 },
  inodes: { total: 0, used: 0 },
  limits: { bytes: marks, inodes: marks },
})

it('buildkitd collects at the mark where the agent would', () => {
  expect(collectionFor([fs('containerd', 'buildkit')], undefined)).toEqual({ maxUsedSpace: 800, minFreeSpace: 200 })
})

it('a limit for the cache holds below the budget', () => {
  expect(collectionFor([fs('containerd', 'buildkit')], 300)?.maxUsedSpace).toBe(300)
  expect(collectionFor([fs('containerd', 'buildkit')], 900)?.maxUsedSpace).toBe(800)
})

it('free space is not asked for where buildkitd would measure another file system', () => {
  expect(collectionFor([fs('containerd'), fs('buildkit')], undefined)).toEqual({
    maxUsedSpace: 800,
    minFreeSpace: undefined,
  })
  expect(collectionFor([], undefined)).toBeUndefined()
})

it('what the user says about it wins as a whole', () => {
  const collection = { maxUsedSpace: 800, minFreeSpace: 200 }
  expect(collectionKeys({}, collection)).toEqual({ maxUsedSpace: '800', minFreeSpace: '200' })
  for (const key of ['gc', 'gckeepstorage', 'reservedSpace', 'maxUsedSpace', 'minFreeSpace', 'gcpolicy']) {
    expect(collectionKeys({ [key]: false }, collection)).toEqual({})
  }
  expect(collectionKeys({}, undefined)).toEqual({})
})
