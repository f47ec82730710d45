import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { labels } from '../../../src/api/names.ts'
import type { KubernetesClient } from '../../../src/kernel/k8s/client.ts'
import { resources } from '../../../src/kernel/k8s/resources.ts'
import { processEnv } from '../../../src/kernel/config/env.ts'
import { run, type RunResult } from '../../../src/kernel/process/run.ts'
import { type Child, start } from '../../../src/kernel/process/start.ts'
import { type ApiServer, startApiServer } from '../fixtures/apiserver.ts'
import { until } from '../fixtures/until.ts'

// As GKE: pods of these classes are refused in a namespace that has no quota for them.
// https://kubernetes.io/docs/concepts/policy/resource-quotas/#limit-priority-class-consumption-by-default
const limited = {
  apiVersion: 'apiserver.config.k8s.io/v1',
  kind: 'AdmissionConfiguration',
  plugins: [
    {
      name: 'ResourceQuota',
      configuration: {
        apiVersion: 'apiserver.config.k8s.io/v1',
        kind: 'ResourceQuotaConfiguration',
        limitedResources: [
          {
            resource: 'pods',
            matchScopes: [
              {
                scopeName: 'PriorityClass',
                operator: 'In',
                values: ['system-node-critical', 'system-cluster-critical'],
              },
            ],
          },
        ],
      },
    },
  ],
}

const root = join(import.meta.dirname, '../../..')
const namespace = 'buildkit-system'
let server: ApiServer
let admin: KubernetesClient
let controllers: Child
let directory: string

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'insitu-critical-'))
  const config = join(directory, 'admission.json')
  await writeFile(config, JSON.stringify(limited))
  server = await startApiServer({ first: { flags: [`--admission-control-config-file=${config}`], env: {} } })
  admin = await server.client()
  controllers = await start(
    'kube-controller-manager',
    [
      `--kubeconfig=${server.kubeconfig}`,
      '--controllers=daemonset-controller,resourcequota-controller',
      '--leader-elect=false',
      '--secure-port=0',
    ],
    { env: { PATH: join(root, '.tools/bin') }, onLine: () => undefined },
  )
  await admin.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } })
  await admin.apply({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'n1', labels: { 'kubernetes.io/os': 'linux' } },
  })
  // A new node is tainted as not ready, and nobody here would take that off again.
  await admin.patch(resources.nodes, { name: 'n1' }, { spec: { taints: null } })
  const conditions = [{ type: 'Ready', status: 'True', reason: 'Test', message: '' }]
  await admin.patch(
    resources.nodes,
    { name: 'n1', subresource: 'status' },
    {
      status: {
        conditions,
        nodeInfo: {
          ...Object.fromEntries(
            ['machineID', 'systemUUID', 'bootID', 'kernelVersion', 'osImage'].map((key) => [key, 'x']),
          ),
          ...{ architecture: 'amd64', operatingSystem: 'linux', kubeProxyVersion: '', kubeletVersion: 'v1.35.4' },
          containerRuntimeVersion: 'containerd://2.4.2',
        },
      },
    },
  )
})
afterAll(async () => {
  await controllers?.stop(5000)
  admin?.close()
  await server?.close()
  await rm(directory, { recursive: true, force: true })
})

const insitu = (...args: string[]): Promise<RunResult> =>
  run(join(root, 'bin/insitu'), args, {
    env: { KUBECONFIG: server.kubeconfig, PATH: processEnv()['PATH'] ?? '' },
    allow: [1, 2],
  })
const agents = () => admin.list(resources.pods, { namespace, labelSelector: `${labels.role}=agent` })
const quota = { group: '', version: 'v1', plural: 'resourcequotas', namespaced: true }

test('agents are made where pods of a system class need a quota; without it status says what helps', async () => {
  expect(await insitu('install', '--no-wait')).toMatchObject({
    exitCode: 0,
    stderr: expect.not.stringContaining('fix:') as string,
  })
  await until('the pod of an agent to be made', async () => (await agents()).length === 1)

  await admin.delete(quota, { namespace, name: 'insitu-agent' })
  for (const { metadata } of await agents()) {
    await admin.delete(resources.pods, { namespace, name: metadata?.name }, { gracePeriodSeconds: 0 })
  }
  await until('status to explain it', async () => {
    const { stdout } = await insitu('status')
    return /insufficient quota to match these scopes[\s\S]*\n {2}fix: .*ResourceQuota/.test(stdout)
  })
  expect(await agents()).toEqual([])
})
