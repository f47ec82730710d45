import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { isMark } from '../host/root-directory.ts'
import { ownedSince, sinceFile } from './ownership.ts'

it('the first time that a root was ours is remembered', async () => {
  const root = await mkdtemp(join(tmpdir(), 'insitu-since-'))
  try {
    expect(await ownedSince(root, 1_000)).toBe(1_000)
    expect(await ownedSince(root, 999_000)).toBe(1_000)
  } finally {
    await rm(root, { recursive: true })
  }
  expect(isMark(sinceFile)).toBe(true)
})
