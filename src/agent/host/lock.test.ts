import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { takeLock } from './lock.ts'

const env = { PATH: process.env['PATH'] ?? '' }
let directory: string
let file: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'insitu-lock-'))
  file = join(directory, 'insitu.lock')
})
afterEach(() => rm(directory, { recursive: true, force: true }))

test('one holds it, and who comes second learns who', async () => {
  const lock = await takeLock({ files: [file], holder: 'agent of a', env })
  await expect(takeLock({ files: [file], holder: 'agent of b', env })).rejects.toThrow('agent of a')
  await lock.release()
  await (await takeLock({ files: [file], holder: 'agent of b', env })).release()
})

test('a lock whose holder cannot be written down is not held: the next try has it', async () => {
  const other = join(directory, 'no-file')
  await mkdir(other)
  await expect(takeLock({ files: [file, other], holder: 'agent of a', env })).rejects.toThrow('EISDIR')
  const lock = await takeLock({ files: [file], holder: 'agent of b', env })
  expect(await readFile(file, 'utf8')).toBe('agent of b\n')
  await lock.release()
})

test('on a full disk it is held all the same, and says whose it is when there is room', async () => {
  const full = join(directory, 'full')
  await symlink('/dev/full', full)
  const lock = await takeLock({ files: [file, full], holder: 'agent of a', env, again: 20 })
  await expect(takeLock({ files: [file], holder: 'agent of b', env })).rejects.toMatchObject({ code: 'LOCKED' })
  await rm(full)
  await writeFile(full, '')
  await expect.poll(() => readFile(full, 'utf8')).toBe('agent of a\n')
  await lock.release()
  await (await takeLock({ files: [file], holder: 'agent of b', env })).release()
})
