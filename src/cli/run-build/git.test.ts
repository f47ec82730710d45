import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { lookAtGit } from './git.ts'

let directory: string
const said: string[] = []

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'insitu-git-'))
  vi.stubEnv('PATH', `${directory}:${process.env['PATH'] ?? ''}`)
  said.length = 0
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await rm(directory, { recursive: true, force: true })
})

/** Looks with a git whose commands take so many seconds. */
async function look(seconds: { readonly ask: number; readonly fetch: number }) {
  const script = `#!/bin/sh
case "$*" in
*ls-remote*) exec sleep ${seconds.ask} ;;
*" fetch "*) sleep ${seconds.fetch} ;;
*rev-parse*) echo 0123456789 ;;
*ls-files*) printf 'large.bin\\0' ;;
*check-attr*) printf 'large.bin\\0filter\\0lfs\\0' ;;
esac
`
  await writeFile(join(directory, 'git'), script)
  await chmod(join(directory, 'git'), 0o755)
  const source = { url: 'https://git.example.test/large' }
  const { signal } = new AbortController()
  return lookAtGit({ source, credentials: undefined, directory, signal, say: (line) => said.push(line), patience: 500 })
}

test('a repository that takes long to fetch is looked at all the same', async () => {
  expect(await look({ ask: 0, fetch: 1 })).toEqual({ commit: '0123456789', lfs: ['large.bin'] })
  expect(said).toEqual([])
})

test('a server that cannot be reached from here is not waited for, and the log says so', async () => {
  expect(await look({ ask: 10, fetch: 0 })).toBeUndefined()
  expect(said.join()).toContain('whether files of the context are kept in Git LFS was not looked at: ')
  expect(said.join()).toContain('timed out')
})
