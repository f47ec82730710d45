import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { namespace } from '../../../src/api/names.ts'
import { processEnv } from '../../../src/kernel/config/env.ts'
import type { KubernetesClient } from '../../../src/kernel/k8s/client.ts'
import { resources } from '../../../src/kernel/k8s/resources.ts'
import { start, type Child } from '../../../src/kernel/process/start.ts'
import { run } from '../../../src/kernel/process/run.ts'
import { startApiServer, type ApiServer } from '../fixtures/apiserver.ts'
import { createCluster } from '../fixtures/cluster.ts'
import { until } from '../fixtures/until.ts'

const root = join(import.meta.dirname, '../../..')
let server: ApiServer
let client: KubernetesClient
let gateway: Child | undefined
const lines: string[] = []

beforeAll(async () => {
  server = await startApiServer()
  client = await server.client()
  const cluster = createCluster(client)
  await cluster.namespace(namespace)
  for (const kind of ['Secret', 'ConfigMap']) {
    await client.apply({ apiVersion: 'v1', kind, metadata: { name: 'insitu-ca', namespace } })
  }
  await cluster.node('n1')
  await cluster.agent('n1')
})
afterAll(async () => {
  await gateway?.stop(10_000)
  client?.close()
  await server?.close()
})

interface Answer {
  readonly status: number
  readonly text: string
}

/** @returns asks its probes; undefined while nobody answers. */
async function startGateway(): Promise<(path: string) => Promise<Answer | undefined>> {
  lines.length = 0
  gateway = await start(join(root, 'bin/insitu'), ['gateway', '--listen', 'tcp://127.0.0.1:0', '--probes', '0'], {
    env: {
      PATH: processEnv()['PATH'] ?? '',
      HOME: '/nonexistent',
      KUBECONFIG: server.kubeconfig,
      POD_NAMESPACE: namespace,
    },
    onLine: (line) => lines.push(line),
  })
  const probes = await until('the probes', () => {
    const line = lines.find((one) => one.includes('"serving probes"'))
    return line && (JSON.parse(line) as { port: number }).port
  })
  return (path) =>
    fetch(`http://127.0.0.1:${probes}${path}`).then(
      async (r) => ({ status: r.status, text: await r.text() }),
      () => undefined,
    )
}

test('a gateway that waits for its CA is alive, says what it waits for, and stops when it is told to', async () => {
  const data = (text: string | null) => ({ data: text === null ? null : { 'tls.crt': text, 'tls.key': text } })
  const ca = { namespace, name: 'insitu-ca' }
  await client.patch(resources.secrets, ca, data('aGVsbG8='))
  const get = await startGateway()
  await until('a sentence on /readyz', async () => {
    const ready = await get('/readyz')
    return ready?.status === 503 && ready.text.includes('Secret insitu-ca')
  })
  expect(await get('/livez')).toMatchObject({ status: 200 })
  const ended = await gateway?.stop(10_000)
  expect(ended).toMatchObject({ code: 0 })
  await client.patch(resources.secrets, ca, data(null))
})

test('a gateway with nothing but a cluster becomes ready, answers for its nodes and tells how fresh its view is', async () => {
  const get = await startGateway()
  await until(`readiness; log: ${lines.join('\n')}`, async () => (await get('/readyz'))?.status === 200)
  const metrics = (await get('/metrics'))?.text
  for (const resource of ['nodes', 'pods', 'agents', 'deployment']) {
    expect(metrics).toMatch(new RegExp(`^insitu_view_age_seconds\\{resource="${resource}"\\} [0-9.]+$`, 'm'))
  }
  const address = await until('its address', () => /tcp:\/\/127\.0\.0\.1:\d+/.exec(lines.join('\n'))?.[0])
  const workers = await run(join(root, '.tools/bin/buildctl'), ['--addr', address, 'debug', 'workers', '--verbose'])
  expect(workers.stdout).toContain('n1')
  expect(workers.stdout).toContain('linux/amd64')
})
