import { chmod, mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { claimDirectory } from './directory.ts'

let directory: string
beforeEach(async () => (directory = await mkdtemp(join(tmpdir(), 'insitu-connect-'))))
afterEach(() => rm(directory, { recursive: true }))

const modeOf = async (path: string): Promise<number> => (await stat(path)).mode & 0o7777

it('makes what is missing for nobody else', async () => {
  await claimDirectory(join(directory, 'a', 'b'))
  expect(await modeOf(join(directory, 'a'))).toBe(0o700)
  expect(await modeOf(join(directory, 'a', 'b'))).toBe(0o700)
})

it('takes nothing from others of a directory that is there', async () => {
  await chmod(directory, 0o755)
  await claimDirectory(directory)
  expect(await modeOf(directory)).toBe(0o755)
})

it.each([0o1777, 0o775, 0o702])('refuses one that others may write, and leaves it as it is (%o)', async (mode) => {
  await chmod(directory, mode)
  await expect(claimDirectory(directory)).rejects.toMatchObject({
    code: 'SHARED_DIRECTORY',
    fix: expect.stringContaining('--directory') as string,
  })
  expect(await modeOf(directory)).toBe(mode)
})
