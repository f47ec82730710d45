import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { run } from '../../../src/kernel/process/run.ts'
import { type ApiServer, startApiServer } from '../fixtures/apiserver.ts'
import { tool } from '../fixtures/paths.ts'
import { until } from '../fixtures/until.ts'

const example = join(import.meta.dirname, '../../../config/examples/image-namespaces.yaml')
let server: ApiServer

const kubectl = (args: readonly string[], input?: string) =>
  run(tool('kubectl'), ['--kubeconfig', server.kubeconfig, ...args], {
    allow: [0, 1],
    ...(input === undefined ? {} : { input }),
  })

/** What the API server says to a pod of team-a; nothing is created. */
async function admit(spec: object): Promise<string> {
  const metadata = { name: 'asked', namespace: 'team-a' }
  const pod = JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata, spec })
  const { exitCode, stderr } = await kubectl(['create', '--dry-run=server', '-f', '-'], pod)
  return exitCode === 0 ? 'admitted' : stderr
}
const withImage = (image: string): object => ({ containers: [{ name: 'main', image }] })

beforeAll(async () => {
  server = await startApiServer()
  await kubectl(['create', 'namespace', 'team-a'])
  await until(
    'pods to be admitted',
    async () => (await admit(withImage('images.internal/team-b/app:v1'))) === 'admitted',
  )
  await kubectl(['apply', '-f', example])
  await until('the policy to be in force', async () =>
    (await admit(withImage('images.internal/team-b/app:v1'))) === 'admitted' ? undefined : true,
  )
})
afterAll(async () => {
  await server?.close()
})

it.each([
  ['its own', withImage('images.internal/team-a/app:v1')],
  ['another registry’s', withImage('registry.example.com/team-b/app:v1')],
  ['one without a registry', withImage('nginx')],
])('a pod may use an image that is %s', async (_, spec) => {
  expect(await admit(spec)).toBe('admitted')
})

it.each([
  ['a container', withImage('images.internal/team-b/app:v1')],
  ['a container, by digest', withImage(`images.internal/team-b/app@sha256:${'a'.repeat(64)}`)],
  ['a namespace whose name only begins alike', withImage('images.internal/team-ab/app')],
  [
    'an init container',
    { ...withImage('nginx'), initContainers: [{ name: 'init', image: 'images.internal/team-b/app:v1' }] },
  ],
  [
    'a volume',
    { ...withImage('nginx'), volumes: [{ name: 'v', image: { reference: 'images.internal/team-b/app:v1' } }] },
  ],
])('and no other team’s, in %s', async (_, spec) => {
  expect(await admit(spec)).toContain('images below images.internal/ are for the namespace they are named after')
})
