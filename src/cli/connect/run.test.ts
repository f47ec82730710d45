import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { UsageError } from '../../kernel/errors.ts'
import { runConnect } from './run.ts'

let directory: string
let kubeconfig: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'insitu-connect-'))
  kubeconfig = join(directory, 'config.json')
  const config = {
    'current-context': 'far',
    clusters: [{ name: 'far', cluster: { server: 'https://far.example:6443' } }],
    contexts: [{ name: 'far', context: { cluster: 'far', user: 'far' } }],
    users: [{ name: 'far', user: { token: 'x' } }],
  }
  await writeFile(kubeconfig, JSON.stringify(config))
})
afterEach(() => rm(directory, { recursive: true }))

it.each([
  ['tokenFile', 'missing', /--token-file .*missing is not there/],
  ['tokenFile', '.', /--token-file .* is a directory/],
  ['caFile', 'missing', /--ca-file .*missing is not there/],
  ['caFile', '.', /--ca-file .* is a directory/],
])('%s %s is refused, and leaves no forwarding that keeps the process alive', async (flag, name, message) => {
  const files = join(directory, 'files')
  const flags = { namespace: 'n', kubeconfig, directory: files, output: 'shell' } as const
  const refused = runConnect({ ...flags, [flag]: join(directory, name) }, [])
  await expect(refused).rejects.toThrow(message)
  await expect(refused).rejects.toBeInstanceOf(UsageError)
  expect(await readdir(files)).toEqual([])
})
