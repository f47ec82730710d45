import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { annotations, labels, namespace as ours } from '../../../src/api/names.ts'
import type { NodeReport } from '../../../src/api/node-report.ts'
import type { KubernetesClient } from '../../../src/kernel/k8s/client.ts'
import { resourcePath, resources, type Resource } from '../../../src/kernel/k8s/resources.ts'
import type { ApiServer } from '../../integration/fixtures/apiserver.ts'
import { agentAddress } from './agents.ts'
import { imageOf, type Fleet, type FleetWorkload } from './fleet.ts'
import { createWriter, parallel, type Writer } from './writer.ts'

type Fields = Record<string, unknown>

interface Item {
  readonly resource: Resource
  readonly kind: string
  readonly object: {
    readonly metadata: Fields & { readonly name: string; readonly namespace?: string }
    readonly spec?: Fields
  }
  readonly status?: Fields
}

export interface LoadOptions {
  readonly server: ApiServer
  readonly client: KubernetesClient
  readonly fleet: Fleet
  /**
   * Into etcd, many at a time, as the API server would store them: a minute instead of several. The API server serves
   * them all the same.
   */
  readonly direct: boolean
  readonly progress: (text: string) => void
}

/** Objects of one transaction; etcd's default limit is 128. */
const batch = 100

/** Writes a whole cluster: nodes, agents, workloads with their pods, all of them running. */
export async function loadCluster({ server, client, fleet, direct, progress }: LoadOptions): Promise<void> {
  const items = itemsOf(fleet)
  const groups = direct ? chunks(items, batch) : items.map((item) => [item])
  const writer = await createWriter(server.endpoint())
  const write = direct
    ? (group: readonly Item[]) => server.store(group.map(stored))
    : ([item]: readonly Item[]) => create(writer, item as Item)
  let next = 0
  const begun = Date.now()
  let said = begun
  const work = async (): Promise<void> => {
    while (next < groups.length) {
      const group = groups[next++] as readonly Item[]
      await patiently(() => write(group))
      if (Date.now() - said < 10_000) continue
      said = Date.now()
      const written = Math.round((items.length * next) / groups.length)
      const rate = (written * 1000) / (Date.now() - begun)
      progress(`loading: ${written} of ${items.length} objects, ${rate.toFixed(0)} a second`)
    }
  }
  const namespaces = [...new Set([ours, ...fleet.workloads.map((w) => w.namespace)])]
  for (const name of namespaces) await client.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
  await Promise.all(Array.from({ length: direct ? 4 : parallel }, work))
  writer.close()
  const seconds = (Date.now() - begun) / 1000
  progress(`${items.length} objects in ${seconds.toFixed(0)} s, ${(items.length / seconds).toFixed(0)} a second`)
}

/** The API server takes an object's status only from a request of its own. */
async function create(writer: Writer, { resource, object, status }: Item): Promise<void> {
  const { name, namespace } = object.metadata
  await writer.write('POST', resourcePath(resource, { namespace }), object)
  if (!status) return
  const ref = resourcePath(resource, { namespace, name, subresource: 'status' })
  // Labels and annotations that are not in it would be taken away.
  await writer.write('PUT', ref, { metadata: object.metadata, status })
}

function stored({ resource, kind, object, status }: Item): { key: string; value: string } {
  const { name, namespace } = object.metadata
  const folder = resource === resources.nodes ? 'minions' : resource.plural
  const apiVersion = resource.group === '' ? resource.version : `${resource.group}/${resource.version}`
  const metadata = { ...object.metadata, uid: randomUUID(), creationTimestamp: '2026-01-01T00:00:00Z' }
  return {
    key: `/registry/${folder}/${namespace === undefined ? '' : `${namespace}/`}${name}`,
    value: JSON.stringify({ apiVersion, kind, ...object, metadata, ...(status ? { status } : {}) }),
  }
}

function itemsOf(fleet: Fleet): readonly Item[] {
  let addresses = 0
  const nodes = fleet.nodes.map((name, i) => makeNode(name, i))
  const agents = fleet.nodes.map((node, i): Item => {
    const podIP = agentAddress(i)
    return {
      resource: resources.pods,
      kind: 'Pod',
      object: makeAgent(node),
      status: { phase: 'Running', podIP, podIPs: [{ ip: podIP }] },
    }
  })
  const workloads = fleet.workloads.map(makeWorkload)
  const pods = fleet.workloads.flatMap((w) =>
    w.nodes.map((node, ordinal) => makePod(w, node, ordinal, address(addresses++))),
  )
  return [...nodes, ...agents, ...workloads, ...pods]
}

function makeWorkload(w: FleetWorkload): Item {
  const resource = {
    Deployment: resources.deployments,
    StatefulSet: resources.statefulSets,
    DaemonSet: resources.daemonSets,
  }[w.kind]
  const metadata = { name: w.name, namespace: w.namespace }
  const template = { metadata: { labels: { app: w.name } }, spec: w.spec }
  const selector = { matchLabels: { app: w.name } }
  const extra = {
    Deployment: { replicas: w.nodes.length },
    StatefulSet: { replicas: w.nodes.length, serviceName: 'x' },
    DaemonSet: {},
  }[w.kind]
  return { resource, kind: w.kind, object: { metadata, spec: { ...extra, selector, template } } }
}

function makePod(w: FleetWorkload, node: string, ordinal: number, podIP: string): Item {
  const hash = '5f7c9d8b6'
  const set = `${w.name}-${hash}`
  const name = w.kind === 'StatefulSet' ? `${w.name}-${ordinal}` : `${set}-${ordinal.toString(36).padStart(5, '0')}`
  const [ownerKind, ownerName] = w.kind === 'Deployment' ? ['ReplicaSet', set] : [w.kind, w.name]
  const more = {
    Deployment: { 'pod-template-hash': hash },
    StatefulSet: { 'statefulset.kubernetes.io/pod-name': name, 'apps.kubernetes.io/pod-index': String(ordinal) },
    DaemonSet: { 'controller-revision-hash': hash },
  }[w.kind]
  const uid = `${w.namespace}-${w.name}`
  const metadata = {
    ...{ name, namespace: w.namespace, labels: { app: w.name, ...more } },
    ownerReferences: [{ apiVersion: 'apps/v1', kind: ownerKind, name: ownerName, uid, controller: true }],
  }
  const waits = w.waiting === ordinal
  const containers = w.spec.containers.map((c, k) => (waits && k === 0 ? { ...c, image: imageOf(w, 'new') } : c))
  const since = '2026-01-01T00:00:00Z'
  const status = {
    ...{ phase: waits ? 'Pending' : 'Running', podIP, podIPs: [{ ip: podIP }], startTime: since },
    conditions: ['PodReadyToStartContainers', 'Initialized', 'Ready', 'ContainersReady', 'PodScheduled'].map(
      (type) => ({
        ...{ type, status: 'True', lastTransitionTime: since },
      }),
    ),
    containerStatuses: containers.map((c, k) => ({
      ...{ name: c.name, image: c.image, imageID: `sha256:${'0'.repeat(64)}`, ready: !waits, restartCount: 0 },
      state: waits && k === 0 ? { waiting: { reason: 'ImagePullBackOff' } } : { running: { startedAt: since } },
    })),
  }
  return {
    resource: resources.pods,
    kind: 'Pod',
    object: { metadata, spec: { ...w.spec, nodeName: node, containers } },
    status,
  }
}

/** A server that is loaded to its limit says so now and then. */
async function patiently(step: () => Promise<unknown>): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      await step()
      return
    } catch (error) {
      if (/already exists/.test(String(error))) return
      if (attempt >= 5) throw error
      await sleep(200 * 2 ** attempt)
    }
  }
}

function chunks<T>(values: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(values.length / size) }, (_, i) => values.slice(i * size, (i + 1) * size))
}

const address = (i: number): string => `10.${1 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`

function makeNode(name: string, i: number): Item {
  const metadata = {
    name,
    labels: {
      'kubernetes.io/hostname': name,
      'kubernetes.io/arch': 'amd64',
      'kubernetes.io/os': 'linux',
      'topology.kubernetes.io/region': 'r1',
      'topology.kubernetes.io/zone': `z${i % 5}`,
      'node.kubernetes.io/instance-type': ['m5.4xlarge', 'c5.9xlarge', 'r5.2xlarge'][i % 3],
      disk: i % 2 === 0 ? 'ssd' : 'hdd',
      pool: `pool-${i % 20}`,
    },
  }
  const allocatable = { cpu: '32', memory: '128Gi', pods: '110', 'ephemeral-storage': '200Gi' }
  const status = {
    ...{ allocatable, capacity: allocatable },
    conditions: [{ type: 'Ready', status: 'True', reason: 'KubeletReady', message: '' }],
    nodeInfo: {
      ...{ operatingSystem: 'linux', architecture: 'amd64', machineID: name, systemUUID: name, bootID: name },
      ...{ kernelVersion: '6.1.0', osImage: 'Debian', containerRuntimeVersion: 'containerd://2.4.2' },
      ...{ kubeletVersion: 'v1.35.4', kubeProxyVersion: '' },
    },
    images: Array.from({ length: 30 }, (_, k) => ({
      names: [`registry.example.test/team-${k}/app-${(i + k) % 500}:v1`],
      sizeBytes: 100_000_000 + k,
    })),
  }
  return { resource: resources.nodes, kind: 'Node', object: { metadata }, status }
}

function makeAgent(node: string): Item['object'] {
  const report: NodeReport = {
    ...{
      version: 1,
      node,
      ready: true,
      state: 'ready',
      platforms: ['linux/amd64', 'linux/arm64'],
      buildkit: 'v0.33.1',
    },
    ...{ containerd: 'v2.4.2', snapshotter: 'overlayfs', distribution: 'kubeadm', network: 'bridge', findings: [] },
  }
  return {
    metadata: {
      ...{ name: `insitu-agent-${node}`, namespace: ours, labels: { [labels.role]: 'agent', app: 'insitu' } },
      annotations: { [annotations.nodeReport]: JSON.stringify(report) },
      ownerReferences: [
        { apiVersion: 'apps/v1', kind: 'DaemonSet', name: 'insitu-agent', uid: 'agent', controller: true },
      ],
    },
    spec: { nodeName: node, containers: [{ name: 'agent', image: 'example.test/insitu:1' }] },
  }
}
