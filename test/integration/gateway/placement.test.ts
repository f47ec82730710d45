import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { annotations, labels, namespace } from '../../../src/api/names.ts'
import { createKubernetesDirectory, type KubernetesDirectory } from '../../../src/gateway/directory/kubernetes.ts'
import { createKubernetesPlacer, type KubernetesPlacer } from '../../../src/gateway/placement/kubernetes.ts'
import { watchCluster, type LiveView } from '../../../src/gateway/placement/view.ts'
import type { KubernetesClient } from '../../../src/kernel/k8s/client.ts'
import type { KubernetesObject } from '../../../src/kernel/k8s/objects.ts'
import { resources } from '../../../src/kernel/k8s/resources.ts'
import { createLogger } from '../../../src/kernel/log.ts'
import { startApiServer, type ApiServer } from '../fixtures/apiserver.ts'
import { createCluster, type Cluster } from '../fixtures/cluster.ts'
import { until } from '../fixtures/until.ts'

const image = 'docker.io/team/web:v2'
const noTls = { current: () => ({ cert: '', key: '', ca: '' }), onChange: () => () => {} }
const logger = createLogger({ level: 'silent' })

let server: ApiServer
let client: KubernetesClient
let cluster: Cluster
let directory: KubernetesDirectory
let view: LiveView
let placer: KubernetesPlacer

beforeAll(async () => {
  server = await startApiServer()
  client = await server.client()
  cluster = createCluster(client)
  await cluster.namespace(namespace)
})
afterAll(async () => {
  client?.close()
  await server?.close()
})
beforeEach(async () => {
  await cluster.clear()
  for (const name of ['n1', 'n2', 'n3']) {
    await cluster.node(name)
    await cluster.agent(name)
  }
  directory = createKubernetesDirectory({ client, namespace, tls: noTls, logger })
  view = watchCluster({
    client,
    logger,
    agents: () => directory.agents,
    onAgent: (listener) => directory.onChange(listener),
  })
  placer = createKubernetesPlacer({ client, view, logger })
  await directory.whenSynced()
  await view.whenSynced()
})
afterEach(async () => {
  await view.stop()
  await directory.stop()
})

const place = (more: object = {}) => placer.place({ images: [image], platforms: [], cacheKey: 'k', ...more })
const ruleBecomes = (rule: string, more: object = {}) =>
  until(`rule ${rule}`, async () => {
    const placement = await place(more)
    return placement.rule === rule && placement
  })

test('a pod that waits for the image draws the build to its node, until it runs', async () => {
  expect((await place()).rule).toBe('anywhere')
  await cluster.pod('web-1', { node: 'n2', image: 'team/web:v2', waiting: 'ErrImageNeverPull' })
  expect(await ruleBecomes('waiting')).toEqual({
    rule: 'waiting',
    node: 'n2',
    targets: ['n2'],
    reason: 'pod default/web-1 waits there for docker.io/team/web:v2',
  })
  await cluster.pod('web-1', { node: 'n2', image: 'team/web:v2' })
  await ruleBecomes('anywhere')
})

test('a Pending pod that has no node yet waits nowhere, and draws the build to a node that would take it', async () => {
  await cluster.pod('homeless', { image: 'team/web:v2' })
  await cluster.pod('marker', { node: 'n3', image: 'other:1', waiting: 'ErrImagePull' })
  await until('the later pod is seen', () => [...view.waitingFor('docker.io/library/other:1')].length === 1)
  expect(await place()).toMatchObject({
    rule: 'template',
    reason: expect.stringContaining('Pod default/homeless uses docker.io/team/web') as string,
  })
})

test('pods of a DaemonSet and of a StatefulSet draw new versions to their nodes, those of a Deployment do not', async () => {
  await cluster.pod('web-a', { node: 'n3', image: 'team/web:v1', owner: ['ReplicaSet', 'web-abc'] })
  await cluster.pod('web-0', { node: 'n1', image: 'team/web:v1', owner: ['StatefulSet', 'web'] })
  expect(await ruleBecomes('running')).toMatchObject({ node: 'n1', targets: ['n1'] })
})

test('a Deployment that names the repository draws the build to a node that takes its pods', async () => {
  await cluster.node('n3', { labels: { disk: 'ssd' } })
  await cluster.deployment('web', 'team/web:v1', { nodeSelector: { disk: 'ssd' } })
  expect(await ruleBecomes('template')).toMatchObject({ node: 'n3', targets: ['n3'] })
  await client.delete(resources.deployments, { namespace: 'default', name: 'web' })
  await ruleBecomes('anywhere')
})

test('so does any other workload that has a template, until it is gone', async () => {
  const pod = {
    metadata: { labels: { app: 'web' } },
    spec: {
      nodeSelector: { disk: 'ssd' },
      restartPolicy: 'Never',
      containers: [{ name: 'main', image: 'team/web:v1' }],
    },
  }
  const always = { ...pod, spec: { ...pod.spec, restartPolicy: 'Always' } }
  const selector = { matchLabels: { app: 'web' } }
  await cluster.node('n3', { labels: { disk: 'ssd' } })
  for (const [resource, spec] of [
    [resources.statefulSets, { selector, serviceName: 'web', template: always }],
    [resources.daemonSets, { selector, template: always }],
    [resources.replicaSets, { selector, template: always }],
    [resources.jobs, { template: pod }],
    [resources.cronJobs, { schedule: '0 0 1 1 *', jobTemplate: { spec: { template: pod } } }],
  ] as const) {
    await client.create(resource, { namespace: 'default' }, { metadata: { name: 'web', namespace: 'default' }, spec })
    expect(await ruleBecomes('template'), resource.plural).toMatchObject({ node: 'n3', targets: ['n3'] })
    await client.delete(resource, { namespace: 'default', name: 'web' })
    await ruleBecomes('anywhere')
  }
})

test('insitu.for finds the pods of a Deployment, and asks the server for what is not in the view', async () => {
  const hash = { 'pod-template-hash': '5f7c' }
  await cluster.pod('web-1', { node: 'n3', image: 'x:1', owner: ['ReplicaSet', 'web-5f7c'], labels: hash })
  await until('the pod is seen', () => view.pod('default', 'web-1'))
  expect(await place({ workload: 'deploy/web' })).toMatchObject({ rule: 'said', node: 'n3', targets: ['n3'] })
  expect(await place({ workload: 'default/pod/web-1' })).toMatchObject({ node: 'n3' })
  await expect(place({ workload: 'sts/web' })).rejects.toMatchObject({ code: 'WORKLOAD_UNKNOWN', status: 'NOT_FOUND' })
  await expect(place({ workload: 'pod/none' })).rejects.toMatchObject({ code: 'WORKLOAD_UNKNOWN' })
  await expect(place({ workload: 'web' })).rejects.toMatchObject({ code: 'WORKLOAD_NAME' })
})

test('nodes and agents that get into trouble are left out, with the reason', async () => {
  await client.patch(resources.nodes, { name: 'n1' }, { spec: { unschedulable: true } })
  await cluster.node('n2', { ready: false })
  await cluster.agent('n3', { ready: false, state: 'failed' })
  await cluster.node('n4')
  const error = await until('no node is left', () =>
    placer.place({ images: [], platforms: [], cacheKey: '' }).then(
      () => undefined,
      (error: unknown) => (String(error).includes('4') ? error : undefined),
    ),
  )
  expect(error).toMatchObject({
    status: 'FAILED_PRECONDITION',
    message: '0/4 nodes can build: 1 agent not ready, 1 cordoned, 1 no agent, 1 not ready',
  })
  await expect(place({ node: 'n9' })).rejects.toMatchObject({ code: 'UNKNOWN_NODE' })
  expect(directory.nodes().map((n) => [n.name, n.ready])).toEqual([
    ['n1', true],
    ['n2', true],
    ['n3', false],
  ])
})

const taint = (key: string, effect = 'NoSchedule') => ({ spec: { taints: [{ key, effect }] } })
const conditions = (...all: [type: string, status: string, message?: string][]) => ({
  status: { conditions: all.map(([type, status, message = '']) => ({ type, status, reason: 'Test', message })) },
})

test.each([
  ['the cluster autoscaler', taint('ToBeDeletedByClusterAutoscaler'), 'going away'],
  ['Karpenter', taint('karpenter.sh/disrupted'), 'going away'],
  ['an administrator', taint('node.kubernetes.io/out-of-service', 'NoExecute'), 'going away'],
  ['a cloud', taint('node.cloudprovider.kubernetes.io/shutdown'), 'going away'],
  ['AWS', taint('aws-node-termination-handler/spot-itn'), 'going away'],
  ['a kubelet that is told to shut down', conditions(['Ready', 'False', 'node is shutting down']), 'going away'],
  ['a kubelet without disk', conditions(['Ready', 'True'], ['DiskPressure', 'True']), 'DiskPressure'],
  ['a kubelet without memory', conditions(['Ready', 'True'], ['MemoryPressure', 'True']), 'MemoryPressure'],
  ['the node controller', taint('node.kubernetes.io/disk-pressure'), 'DiskPressure'],
])(
  'a node that %s takes out of service gets no new builds, not even for a pod that waits there',
  async (_, patch, reason) => {
    await cluster.pod('web-1', { node: 'n2', image: 'team/web:v2', waiting: 'ErrImageNeverPull' })
    await ruleBecomes('waiting')
    const subresource = 'status' in patch ? { subresource: 'status' } : {}
    await client.patch(resources.nodes, { name: 'n2', ...subresource }, patch)
    const placement = await ruleBecomes('anywhere')
    expect(placement.node).not.toBe('n2')
    expect(placement.targets).toEqual(['n2'])
    expect(placement.reason).toContain(`node n2, where a pod waits for it, cannot build (${reason})`)
    await expect(place({ node: 'n2' })).rejects.toMatchObject({ code: 'NODE_CANNOT_BUILD' })
    await cluster.node('n2')
    await ruleBecomes('waiting')
  },
)

test('a node that is deleted gets no new builds while it is still there', async () => {
  await client.patch(resources.nodes, { name: 'n2' }, { metadata: { finalizers: ['test.insitu.build/hold'] } })
  await client.delete(resources.nodes, { name: 'n2' })
  await until('it is known', () => view.nodes.get('n2')?.leaving)
  await expect(place({ node: 'n2' })).rejects.toThrow('node n2 is going away (it is being deleted)')
  await client.patch(resources.nodes, { name: 'n2' }, { metadata: { finalizers: null } })
})

test('an agent whose pod is deleted drains, and is gone with it', async () => {
  const pod = { namespace, name: 'insitu-agent-n2' }
  // Without a kubelet nothing ends the pod, so it stays in deletion like one whose builds are finishing.
  await client.delete(resources.pods, pod, { gracePeriodSeconds: 600 })
  await until('it drains', () => directory.agents.get('n2')?.draining)
  expect(directory.node('n2')?.ready).toBe(false)
  expect(directory.node('n2')?.report?.state).toBe('draining')
  await client.delete(resources.pods, pod, { gracePeriodSeconds: 0 })
  await until('it is gone', () => directory.node('n2') === undefined)
})

test('built() wakes exactly the pods on the node that gave up the image and may use it', async () => {
  await cluster.pod('never', { node: 'n2', image: 'team/web:v2', waiting: 'ErrImageNeverPull', pullPolicy: 'Never' })
  await cluster.pod('backoff', {
    node: 'n2',
    image: 'team/web:v2',
    waiting: 'ImagePullBackOff',
    pullPolicy: 'IfNotPresent',
  })
  await cluster.pod('always', { node: 'n2', image: 'team/web:v2', waiting: 'ImagePullBackOff', pullPolicy: 'Always' })
  await cluster.pod('elsewhere', {
    node: 'n1',
    image: 'team/web:v2',
    waiting: 'ErrImageNeverPull',
    pullPolicy: 'Never',
  })
  await cluster.pod('other', { node: 'n2', image: 'team/web:v1', waiting: 'ErrImageNeverPull', pullPolicy: 'Never' })
  await cluster.pod('pulling', {
    node: 'n2',
    image: 'team/web:v2',
    waiting: 'ContainerCreating',
    pullPolicy: 'IfNotPresent',
  })
  await until('all are seen', () => [...view.waitingFor(image)].length === 5)
  await placer.built({ rule: 'waiting', node: 'n2', targets: ['n2'], reason: '' }, [image])
  const pods = await client.list<KubernetesObject>(resources.pods, { namespace: 'default' })
  const woken = pods.filter((p) => p.metadata?.annotations?.[annotations.imageReady] !== undefined)
  expect(woken.map((p) => p.metadata?.name)).toEqual(['backoff', 'never'])
  expect(Date.parse(woken[0]?.metadata?.annotations?.[annotations.imageReady] ?? '')).toBeGreaterThan(0)
})

test('built() survives a pod that went away and a client that may not patch', async () => {
  await cluster.pod('never', { node: 'n2', image: 'team/web:v2', waiting: 'ErrImageNeverPull' })
  await until('it is seen', () => [...view.waitingFor(image)].length === 1)
  const placement = { rule: 'waiting', node: 'n2', targets: ['n2'], reason: '' } as const
  const nobody = await server.client('nobody')
  await createKubernetesPlacer({ client: nobody, view, logger }).built(placement, [image])
  nobody.close()
  await client.delete(resources.pods, { namespace: 'default', name: 'never' }, { gracePeriodSeconds: 0 })
  await expect(placer.built(placement, [image])).resolves.toBeUndefined()
})

test('an address names its pod and what its namespace may, but never a pod in its node’s network', async () => {
  await cluster.pod('ci', { node: 'n1', image: 'x:1', ip: '10.9.0.1', ip6: 'fd00:9::1' })
  await cluster.pod('host', { node: 'n1', image: 'x:1', ip: '192.0.2.1', hostNetwork: true })
  await until('both are seen', () => view.pod('default', 'host') && view.pod('default', 'ci')?.ip)
  const known = { namespace: 'default', name: 'ci', serviceAccount: 'default', plaintext: false }
  expect(view.podByIp('10.9.0.1')).toEqual(known)
  expect(view.podByIp('fd00:9::1')).toEqual(known)
  expect(view.podByIp('192.0.2.1')).toBeUndefined()
  expect(await view.lookupPod('10.9.0.1')).toMatchObject({ name: 'ci' })
  await client.patch(
    resources.namespaces,
    { name: 'default' },
    { metadata: { labels: { [labels.plaintext]: 'allow' } } },
  )
  await until('the label is seen', () => view.podByIp('10.9.0.1')?.plaintext)
  await client.patch(resources.namespaces, { name: 'default' }, { metadata: { labels: { [labels.plaintext]: null } } })
  await until('its removal is seen', () => view.podByIp('10.9.0.1')?.plaintext === false)
  const later = view.lookupPod('10.9.0.2', 30_000)
  await cluster.pod('late', { node: 'n1', image: 'x:1', ip: '10.9.0.2' })
  expect(await later).toMatchObject({ name: 'late' })
  expect(await view.lookupPod('10.9.0.3', 10)).toBeUndefined()
})

test('freshness is known for each resource', () => {
  const ages = view.freshness()
  expect(ages.map((f) => f.resource)).toEqual(expect.arrayContaining(['nodes', 'pods', 'namespaces', 'deployment']))
  expect(ages.find((f) => f.resource === 'pods')?.age).toBeLessThan(60_000)
})
