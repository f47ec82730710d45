import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeEach, expect, it } from 'vitest'
import { UsageError } from '../../kernel/errors.ts'
import { runConnect } from './run.ts'
import { farCluster } from '../../../test/unit/kubeconfig.ts'

let directory: string
let kubeconfig: string
beforeEach(async () => {
  ;({ directory, kubeconfig } = await farCluster())
})

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
