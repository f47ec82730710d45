import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { annotations, caSecret, configMaps, serviceAccounts } from '../../../src/api/names.ts'
import type { KubernetesClient } from '../../../src/kernel/k8s/client.ts'
import type { KubernetesObject } from '../../../src/kernel/k8s/objects.ts'
import { resources } from '../../../src/kernel/k8s/resources.ts'
import { until } from '../fixtures/until.ts'
import { type BoundPod, type Installed, namespace, startInstalled } from './installed.ts'

let installed: Installed
let agentPod: BoundPod
let agent: KubernetesClient
let gateway: KubernetesClient
beforeAll(async () => {
  installed = await startInstalled()
  agentPod = await installed.pod('agent-1', serviceAccounts.agent, 'node-1')
  await installed.pod('agent-2', serviceAccounts.agent, 'node-2')
  agent = await agentPod.client()
  gateway = await (await installed.pod('gateway-1', serviceAccounts.gateway, 'node-1')).client()
  // Admission policies are watched: they hold a moment after they were written.
  await until('the policies hold', () =>
    patch(agent, 'agent-1', { metadata: { labels: { probe: 'x' } } }, true).then(
      () => false,
      (error: Error) => error.message.includes('may only change the annotation'),
    ),
  )
})
afterAll(async () => {
  agent?.close()
  gateway?.close()
  installed?.admin.close()
  await installed?.server.close()
})

const patch = (client: KubernetesClient, name: string, body: object, dryRun = false): Promise<KubernetesObject> =>
  client.patch(resources.pods, { namespace, name }, body, { dryRun })

const annotate = (key: string, value: string | null): object => ({ metadata: { annotations: { [key]: value } } })

describe.each([
  { role: 'agent', client: () => agent, target: 'agent-1', annotation: annotations.nodeReport },
  { role: 'gateway', client: () => gateway, target: 'agent-2', annotation: annotations.imageReady },
])('the $role on a pod', ({ client, target, annotation }) => {
  test('writes its annotation, changes it and takes it away', async () => {
    for (const value of ['a', 'b']) {
      await patch(client(), target, annotate(annotation, value))
      const pod = await installed.admin.get(resources.pods, { namespace, name: target })
      expect(pod.metadata?.annotations?.[annotation]).toBe(value)
    }
    await patch(client(), target, annotate(annotation, null))
  })

  test.each([
    ['another annotation', annotate('other', 'x')],
    ['an annotation that is there', annotate('kept', 'changed')],
    ['the removal of an annotation', annotate('kept', null)],
    ['a label', { metadata: { labels: { kept: 'changed' } } }],
    ['a finalizer', { metadata: { finalizers: ['example.com/x'] } }],
    ['the image', { spec: { containers: [{ name: 'c', image: 'evil' }] } }],
    ['its own and another annotation', { metadata: { annotations: { [annotation]: 'x', other: 'x' } } }],
  ])('is refused %s', async (_, body) => {
    const before = await installed.admin.get(resources.pods, { namespace, name: target })
    await expect(patch(client(), target, body)).rejects.toThrow('may only change the annotation')
    const after = await installed.admin.get(resources.pods, { namespace, name: target })
    expect(after.metadata?.resourceVersion).toBe(before.metadata?.resourceVersion)
  })
})

test('a gateway that an overlay has put into another namespace is narrowed, too', async () => {
  const elsewhere = 'elsewhere'
  const { gateway: name } = serviceAccounts
  await installed.admin.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: elsewhere } })
  await installed.admin.apply({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace: elsewhere } })
  await installed.admin.apply({
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRoleBinding',
    metadata: { name: elsewhere },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
    subjects: [{ kind: 'ServiceAccount', name, namespace: elsewhere }],
  } as KubernetesObject)
  const client = await (await installed.pod('gateway-1', name, 'node-1', elsewhere)).client()
  await expect(patch(client, 'agent-2', { metadata: { labels: { kept: 'changed' } } })).rejects.toThrow(
    'may only change the annotation',
  )
  await patch(client, 'agent-2', annotate(annotations.imageReady, 'a'))
  client.close()
})

test('an agent cannot write the report of another node', async () => {
  await expect(patch(agent, 'agent-2', annotate(annotations.nodeReport, 'lie'))).rejects.toThrow('its own pod')
})

test('a token that is bound to no pod writes no report', async () => {
  const answer = await installed.admin.create<KubernetesObject & { status: { token: string } }>(
    resources.serviceAccounts,
    { namespace, name: serviceAccounts.agent, subresource: 'token' },
    { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { expirationSeconds: 3600 } },
  )
  const client = await installed.clientFor(answer.status.token)
  await expect(patch(client, 'agent-1', annotate(annotations.nodeReport, 'lie'))).rejects.toThrow('its own pod')
  client.close()
})

test('an agent reads the public CA, and neither the key nor anything else', async () => {
  await agent.get(resources.configMaps, { namespace, name: configMaps.ca })
  await expect(agent.get(resources.secrets, { namespace, name: caSecret })).rejects.toThrow('not allowed')
  await expect(agent.get(resources.configMaps, { namespace, name: configMaps.buildkitd })).rejects.toThrow(
    'not allowed',
  )
  await expect(agent.get(resources.pods, { namespace, name: 'agent-1' })).rejects.toThrow('not allowed')
  await expect(agent.list(resources.pods, {})).rejects.toThrow('not allowed')
  await expect(agent.list(resources.nodes, {})).rejects.toThrow('not allowed')
  await expect(agent.create(resources.pods, { namespace }, {})).rejects.toThrow('not allowed')
})

test('a gateway reads what placement needs and the Secret of the CA, and makes nothing', async () => {
  for (const resource of [
    'nodes',
    'pods',
    'namespaces',
    'persistentVolumes',
    'persistentVolumeClaims',
    'deployments',
    'statefulSets',
    'daemonSets',
    'replicaSets',
    'jobs',
    'cronJobs',
  ] as const) {
    await gateway.list(resources[resource], {})
  }
  await gateway.get(resources.secrets, { namespace, name: caSecret })
  await expect(gateway.list(resources.secrets, { namespace })).rejects.toThrow('not allowed')
  await expect(gateway.get(resources.secrets, { namespace, name: 'other' })).rejects.toThrow('not allowed')
  await expect(
    gateway.create(resources.secrets, { namespace }, { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'x' } }),
  ).rejects.toThrow('not allowed')
  await expect(gateway.delete(resources.pods, { namespace, name: 'agent-2' })).rejects.toThrow('not allowed')
})
