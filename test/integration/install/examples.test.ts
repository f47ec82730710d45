import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { run } from '../../../src/kernel/process/run.ts'
import { type ApiServer, startApiServer } from '../fixtures/apiserver.ts'
import { tool } from '../fixtures/paths.ts'
import { until } from '../fixtures/until.ts'
import { examplePods } from '../../unit/docs/example-pods.ts'

const examples = join(import.meta.dirname, '../../../config/examples')
let server: ApiServer

const ask = async (args: readonly string[], input = ''): Promise<string> => {
  const command = ['--kubeconfig', server.kubeconfig, ...args]
  const { stdout, stderr } = await run(tool('kubectl'), command, { allow: [0, 1], input })
  return `${stdout}${stderr}`.trim()
}
const kubectl = (...args: readonly string[]): Promise<string> => ask(args)

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

it('pods fit pod security "restricted", and have no field that the API does not know', async () => {
  const strict = 'strict'
  await kubectl('create', 'namespace', strict)
  await kubectl('label', 'namespace', strict, 'pod-security.kubernetes.io/enforce=restricted')
  for (const account of new Set(['default', ...examplePods.map(({ spec }) => spec.serviceAccountName ?? 'default')])) {
    await kubectl('-n', strict, 'create', 'serviceaccount', account)
  }
  const create = ['-n', strict, 'create', '--dry-run=server', '--validate=strict', '-f', '-']
  const says = ({ spec }: { readonly spec: object }): Promise<string> =>
    ask(create, JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'asked' }, spec }))
  const privileged = { containers: [{ name: 'c', image: 'i', securityContext: { privileged: true } }] }
  await until(
    'pod security to be in force',
    async () => (await says({ spec: privileged })).includes('violates') || undefined,
  )
  for (const pod of examplePods) expect(await says(pod), pod.file).toBe('pod/asked created (server dry run)')
})
