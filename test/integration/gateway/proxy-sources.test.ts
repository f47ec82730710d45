import { afterAll, beforeAll, expect, test } from 'vitest'
import { configMaps, namespace, serviceAccounts } from '../../../src/api/names.ts'
import { access } from '../../../src/cli/manifests/access.ts'
import { type ProxyConfigMaps, watchProxyConfigMaps } from '../../../src/gateway/proxy/config-maps.ts'
import { followNetwork } from '../../../src/gateway/proxy/network.ts'
import { joinSources } from '../../../src/gateway/proxy/sources.ts'
import type { KubernetesClient } from '../../../src/kernel/k8s/client.ts'
import type { KubernetesObject } from '../../../src/kernel/k8s/objects.ts'
import { resources } from '../../../src/kernel/k8s/resources.ts'
import { createLogger } from '../../../src/kernel/log.ts'
import { startApiServer, type ApiServer } from '../fixtures/apiserver.ts'
import { createCluster } from '../fixtures/cluster.ts'
import { until } from '../fixtures/until.ts'

// With the rights of a gateway, as the manifests give them, against a real API server.

let server: ApiServer
let admin: KubernetesClient
/** Somebody who has the gateway's role and nothing else. */
let gateway: KubernetesClient
let maps: ProxyConfigMaps
const logger = createLogger({ level: 'silent' })

const write = (space: string, data: Record<string, string>) =>
  admin.apply({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: configMaps.proxy, namespace: space },
    data,
  } as KubernetesObject)
const variables = (space?: string) => joinSources('n1', { HTTP_PROXY: 'http://agent:1' }, maps.sources(space), [])

beforeAll(async () => {
  server = await startApiServer()
  admin = await server.client()
  const cluster = createCluster(admin)
  await cluster.namespace(namespace)
  await cluster.namespace('team')
  for (const { object } of access(namespace)) {
    const { kind, metadata } = object as unknown as KubernetesObject & { kind: string }
    if (kind === 'ClusterRole' && metadata?.name === serviceAccounts.gateway) await admin.apply(object)
  }
  await admin.apply({
    ...{ apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRoleBinding', metadata: { name: 'as-a-gateway' } },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: serviceAccounts.gateway },
    subjects: [{ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name: 'nobody' }],
  } as KubernetesObject)
  gateway = await server.client('nobody')
  maps = watchProxyConfigMaps({ client: gateway, namespace, logger })
  await maps.whenSynced()
})
afterAll(async () => {
  await maps?.stop()
  gateway?.close()
  admin?.close()
  await server?.close()
})

test('the install and the namespace of the caller win over the agent, variable by variable, and changes arrive', async () => {
  expect(variables('team')).toEqual({ HTTP_PROXY: 'http://agent:1' })
  await write(namespace, { HTTPS_PROXY: 'http://install:1\n', other: 'not of ours' })
  await until('the install’s', () => variables()['HTTPS_PROXY'] === 'http://install:1')
  await write('team', { https_proxy: 'http://team:1', HTTP_PROXY: '' })
  await until('the namespace’s', () => variables('team')['HTTPS_PROXY'] === 'http://team:1')
  expect(variables('team')).toEqual({ HTTPS_PROXY: 'http://team:1' })
  expect(variables('elsewhere')).toEqual({ HTTP_PROXY: 'http://agent:1', HTTPS_PROXY: 'http://install:1' })
  await admin.delete(resources.configMaps, { namespace: 'team', name: configMaps.proxy })
  await until('it to be gone', () => variables('team')['HTTPS_PROXY'] === 'http://install:1')
})

test('a gateway may read ConfigMaps of that name and no others', async () => {
  const list = (options: object) => gateway.list(resources.configMaps, options)
  await expect(list({})).rejects.toThrow(/forbidden/i)
  await expect(list({ namespace: 'kube-system' })).rejects.toThrow(/forbidden/i)
  await expect(
    gateway.get(resources.configMaps, { namespace: 'kube-system', name: 'kube-root-ca.crt' }),
  ).rejects.toThrow(/forbidden/i)
})

test('the ranges of services are those of the cluster', async () => {
  const network = followNetwork({
    ...{ client: gateway, apiServer: '10.0.0.1', domain: undefined, registries: [], logger, interval: 200 },
    nodes: () => [{ addresses: ['10.77.0.11'], podRanges: ['10.244.1.0/24'] }],
  })
  try {
    const found = await admin.list<KubernetesObject & { spec?: { cidrs?: string[] } }>(resources.serviceCidrs)
    const ranges = found.flatMap(({ spec }) => spec?.cidrs ?? [])
    expect(ranges.length).toBeGreaterThan(0)
    await until('the ranges', () => ranges.every((range) => network.current().includes(range)))
    expect(network.current()).toEqual(expect.arrayContaining(['.svc', '10.77.0.11', '10.244.1.0/24', '10.0.0.1']))
  } finally {
    network.close()
  }
})
