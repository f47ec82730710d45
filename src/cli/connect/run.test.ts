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

it('says that the token file is not there, and leaves no forwarding that keeps the process alive', async () => {
  const files = join(directory, 'files')
  const flags = { namespace: 'n', kubeconfig, directory: files, output: 'shell' } as const
  const refused = runConnect({ ...flags, tokenFile: join(directory, 'missing') }, [])
  await expect(refused).rejects.toThrow(/--token-file .*missing is not there/)
  await expect(refused).rejects.toBeInstanceOf(UsageError)
  expect(await readdir(files)).toEqual([])
})
