import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Work } from '../../../src/api/builds/work.ts'
import { serviceAccounts, tokenAudience } from '../../../src/api/names.ts'
import { namespaceEndPath } from '../../../src/api/workspace.ts'
import { postJson } from '../../../src/kernel/grpc/json.ts'
import { resources } from '../../../src/kernel/k8s/resources.ts'
import { type Client, startClient } from '../fixtures/clients.ts'
import { until } from '../fixtures/until.ts'
import { type CertifiedGateway, startCertifiedGateway } from '../install/certified-gateway.ts'
import { type BoundPod, type Installed, namespace, startInstalled } from '../install/installed.ts'

const program = fileURLToPath(new URL('../../../bin/insitu', import.meta.url))
const serverName = `buildkitd.${namespace}.svc`
const spaces = ['ending', 'staying'] as const
let installed: Installed
let door: CertifiedGateway
let claim: string
const pods = new Map<string, BoundPod>()

beforeAll(async () => {
  installed = await startInstalled()
  door = await startCertifiedGateway(installed)
  claim = await mkdtemp(join(tmpdir(), 'insitu-guarded-'))
  for (const name of spaces) {
    await installed.admin.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
    await installed.admin.apply({
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name: 'builder', namespace: name },
    })
    pods.set(name, await installed.pod('b-1', 'builder', 'node-1', name))
  }
})
afterAll(async () => {
  await door?.stop()
  installed?.admin.close()
  await installed?.server.close()
  await rm(claim, { recursive: true, force: true })
})

/** The container beside those of a Build, with the claim and what the pod gets mounted. */
async function guard(of: string, directory: string, port = door.gateway.port): Promise<Client> {
  await mkdir(join(claim, directory, 'deep'), { recursive: true })
  const at = (file: string): string => join(claim, `${directory}.${file}`)
  const work: Work = {
    build: { namespace: of, name: 'b', uid: 'u' },
    ...{ recipe: {}, basicAuth: [], ca: door.identity.tls.current().ca },
    gateway: { host: '127.0.0.1', port, serverName },
  }
  await writeFile(at('work'), JSON.stringify(work))
  await writeFile(at('token'), (await pods.get(of)?.token(tokenAudience)) ?? '')
  const args = ['clean-workspace', '--root', claim, '--directory', directory, '--if-namespace-ends']
  const running = startClient(program, [...args, '--work', at('work'), '--token-file', at('token')])
  await until('it to wait', () => running.output().includes('waits'))
  return running
}
const left = async (directory: string): Promise<boolean> => (await readdir(claim)).includes(directory)

test('the directory on a claim goes with the namespace when its pod is told to end, and at no other end', async () => {
  const [one, other, second] = await Promise.all([
    guard('ending', 'one/own'),
    guard('staying', 'other'),
    guard('ending', 'second'),
  ])
  // A pod that is taken away from a namespace that stays: another attempt may need what is there.
  second.kill('SIGTERM')
  expect(await second.ended).toMatchObject({ exitCode: 0, output: expect.stringContaining('left to others') as string })
  expect(await left('second')).toBe(true)

  // Something of it is still there: it ends, and is not gone.
  await installed.admin.delete(resources.namespaces, { name: 'ending' })
  one.kill('SIGTERM')
  other.kill('SIGTERM')
  expect(await one.ended).toMatchObject({ exitCode: 0, output: expect.stringContaining('one/own removed') as string })
  expect(await readdir(join(claim, 'one'))).not.toContain('own')
  expect(await other.ended).toMatchObject({ exitCode: 0, output: expect.stringContaining('left to others') as string })
  expect(await left('other')).toBe(true)
})

test('where no gateway answers it stays, and the pod ends all the same', async () => {
  const alone = await guard('staying', 'alone', 1)
  alone.kill('SIGTERM')
  expect(await alone.ended).toMatchObject({ exitCode: 0, output: expect.stringContaining('left to others') as string })
  expect(await left('alone')).toBe(true)
})

test('a gateway tells a service account of its own namespace, and nobody else anything', async () => {
  const ask = (token: string) =>
    postJson({
      ...{ host: '127.0.0.1', port: door.gateway.port, serverName, ca: door.identity.tls.current().ca },
      ...{ path: namespaceEndPath, token, body: { namespace: 'ending' }, timeout: 30_000 },
    })
  const mine = await pods.get('staying')?.token(tokenAudience)
  expect(await ask(mine ?? '')).toEqual({ status: 200, body: { ends: false } })
  expect((await ask('nothing')).status).toBe(401)
  const forTheServer = await pods.get('staying')?.token()
  expect((await ask(forTheServer ?? '')).status).toBe(401)
  const agent = await installed.pod('agent-1', serviceAccounts.agent, 'node-1')
  expect((await ask(await agent.token(tokenAudience))).status).toBe(403)
})
