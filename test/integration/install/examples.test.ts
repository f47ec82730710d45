import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { run } from '../../../src/kernel/process/run.ts'
import { type ApiServer, startApiServer } from '../fixtures/apiserver.ts'
import { tool } from '../fixtures/paths.ts'
import { until } from '../fixtures/until.ts'

const examples = join(import.meta.dirname, '../../../config/examples')
let server: ApiServer

const kubectl = async (...args: readonly string[]): Promise<string> => {
  const { stdout, stderr } = await run(tool('kubectl'), ['--kubeconfig', server.kubeconfig, ...args], { allow: [0, 1] })
  return `${stdout}${stderr}`.trim()
}

beforeAll(async () => {
  server = await startApiServer()
  for (const namespace of ['buildkit-system', 'team-a']) await kubectl('create', 'namespace', namespace)
})
afterAll(async () => {
  await server?.close()
})

it('developers may forward a port to a gateway and ask for tokens of the one account', async () => {
  await kubectl('apply', '-f', join(examples, 'developers.yaml'))
  const may = (...what: readonly string[]): Promise<string> =>
    kubectl('auth', 'can-i', '--as=alice', '--as-group=team-a-developers', ...what)
  const forward = ['create', 'pods', '--subresource=portforward', '-n', 'buildkit-system']
  const token = (account: string): string[] => ['create', `serviceaccounts/${account}`, '--subresource=token']
  await until('the role to be in force', async () => (await may(...forward)) === 'yes' || undefined)
  expect(await may('list', 'pods', '-n', 'buildkit-system')).toBe('yes')
  expect(await may(...token('ci'), '-n', 'team-a')).toBe('yes')
  expect(await may(...token('release'), '-n', 'team-a')).toBe('no')
  expect(await may(...token('ci'), '-n', 'buildkit-system')).toBe('no')
  expect(await may('create', 'pods', '-n', 'buildkit-system')).toBe('no')
})
