import { isDeepStrictEqual } from 'node:util'
import { labels } from '../../api/names.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import { watchResource, type ResourceWatch, type WatchOptions } from '../../kernel/k8s/watch.ts'
import type { Logger } from '../../kernel/log.ts'
import type { PodSource } from '../listener/admit.ts'
import type { AgentFacts, ClusterView, NodeFacts, PodFacts, VolumeFacts, WorkloadFacts } from './cluster.ts'
import { createImageNames, type ImageNames } from './image-names.ts'
import { createModel } from './model/model.ts'
import { addressesOf } from './model/address-index.ts'
import { drop, put } from './model/sets.ts'
import { readNode, type RawNode } from './read-node.ts'
import { readClaim, readVolume, type RawClaim, type RawVolume } from './read-volume.ts'
import { readPod, type RawPod } from './read-pod.ts'
import { readWorkload, type RawWorkload } from './read-workload.ts'
import type { Labels } from './scheduling/selector.ts'

/** The listener's question: whose address is this? */
export interface PodLookup {
  /** The pod with this address, or undefined: unknown, or a pod in its node's network, which it shares with others. */
  podByIp(ip: string): PodSource | undefined
  /**
   * As `podByIp`, but waits so many milliseconds for an address that is not known yet: a pod that has just started can
   * talk before its kubelet has reported its address.
   */
  lookupPod(ip: string, patience?: number): Promise<PodSource | undefined>
}

/** A live picture of the cluster, kept by watches. */
export interface LiveView extends ClusterView, PodLookup {
  readonly images: ImageNames
  /** All nodes and pods were listed once. Workload templates and namespaces may still be on their way. */
  readonly synced: boolean
  /**
   * The namespaces that may build without TLS were listed once. A gateway that knew its pods and not yet their
   * namespaces would turn them away.
   */
  readonly knowsOpenNamespaces: boolean
  whenSynced(signal?: AbortSignal): Promise<void>
  /** As `whenSynced`, workloads and namespaces included. */
  whenComplete(signal?: AbortSignal): Promise<void>
  pod(namespace: string, name: string): PodFacts | undefined
  workload(kind: string, namespace: string, name: string): WorkloadFacts | undefined
  /** Milliseconds since each watched resource was last heard of, and how often its watch was broken: for metrics. */
  freshness(): readonly Freshness[]
  stop(): Promise<void>
}

export interface Freshness {
  readonly resource: string
  readonly age: number
  readonly reconnects: number
  readonly relists: number
}

export interface ViewOptions {
  readonly client: KubernetesClient
  readonly logger: Logger
  /** From the directory. */
  readonly agents: () => ReadonlyMap<string, AgentFacts>
  /** Tells a listener the node of each agent that comes, goes or changes. Absent for agents that do not. */
  readonly onAgent?: (listener: (node: string) => void) => void
  /** Builds that run now, by node. */
  readonly busy?: () => ReadonlyMap<string, number>
  /** For tests. */
  readonly watch?: Pick<WatchOptions<KubernetesObject, unknown>, 'stallAfter' | 'backoff' | 'pageSize' | 'now'>
}

const workloadKinds = [
  ['Deployment', resources.deployments],
  ['StatefulSet', resources.statefulSets],
  ['DaemonSet', resources.daemonSets],
  ['ReplicaSet', resources.replicaSets],
  ['Job', resources.jobs],
  ['CronJob', resources.cronJobs],
] as const

/** Starts the watches. The view is empty until `synced`. */
export function watchCluster(options: ViewOptions): LiveView {
  const { client, logger, watch: tuning = {} } = options
  const images = createImageNames()
  const idle: ReadonlyMap<string, number> = new Map()
  const model = createModel({ images, agents: options.agents, busy: options.busy ?? (() => idle) })
  options.onAgent?.((node) => model.table.touch(node))
  const expected = new Map<string, Set<() => void>>()
  const shared = { client, logger, ...tuning }

  const nodeWatch = watchResource<RawNode, NodeFacts>({
    ...shared,
    resource: resources.nodes,
    pick: readNode,
    onUpsert(_, node, previous) {
      // Kubelets rewrite their node's status every few minutes, mostly without news for us.
      if (!isDeepStrictEqual(node, previous)) model.setNode(node)
    },
    onDelete: (name) => model.removeNode(name),
  })
  const podWatch = watchResource<RawPod, PodFacts>({
    ...shared,
    resource: resources.pods,
    pick: (pod) => readPod(pod, images, model),
    onUpsert(_, pod, previous) {
      model.updatePod(pod, previous)
      for (const ip of addressesOf(pod)) for (const arrived of expected.get(ip) ?? []) arrived()
    },
    onDelete: (_, previous) => model.updatePod(undefined, previous),
  })
  const namespaces = watchResource<KubernetesObject, Labels>({
    ...shared,
    resource: resources.namespaces,
    pick: (namespace) => namespace.metadata?.labels ?? {},
    onUpsert: (name, own) => model.setNamespace(name, own),
    onDelete: (name) => model.setNamespace(name, undefined),
  })
  const claims = watchResource<RawClaim, string>({
    ...shared,
    resource: resources.persistentVolumeClaims,
    pick: readClaim,
    onUpsert: (key, volume) => model.volumes.setClaim(key, volume),
    onDelete: (key) => model.volumes.setClaim(key, undefined),
  })
  const volumes = watchResource<RawVolume, VolumeFacts>({
    ...shared,
    resource: resources.persistentVolumes,
    pick: readVolume,
    onUpsert: (name, facts) => model.volumes.setVolume(name, facts),
    onDelete: (name) => model.volumes.setVolume(name, undefined),
  })
  const workloads = new Map(
    workloadKinds.map(([kind, resource]) => [
      kind as string,
      watchResource<RawWorkload, WorkloadFacts>({
        ...shared,
        resource,
        pick: (object) => readWorkload(kind, object, images),
        onUpsert: (_, workload, previous) => model.updateWorkload(workload, previous),
        onDelete: (_, previous) => model.updateWorkload(undefined, previous),
      }),
    ]),
  )
  const all: readonly (readonly [string, ResourceWatch<unknown>])[] = [
    ['nodes', nodeWatch],
    ['pods', podWatch],
    ['namespaces', namespaces],
    ['claims', claims],
    ['volumes', volumes],
    ...[...workloads].map(([kind, watch]) => [kind.toLowerCase(), watch] as const),
  ]
  const podByIp = (ip: string): PodSource | undefined => {
    const pod = model.byIp(ip)
    if (!pod) return undefined
    const plaintext = namespaces.items.get(pod.namespace)?.[labels.plaintext] === 'allow'
    const { namespace, name, serviceAccount } = pod
    return { namespace, name, serviceAccount, plaintext }
  }
  return {
    images,
    nodes: model.nodes,
    table: model.table,
    world: model.world,
    get agents() {
      return model.agents
    },
    get busy() {
      return model.busy
    },
    waitingFor: (image) => model.waitingFor(image),
    waitingImages: () => model.waitingImages(),
    rollingOf: (repository) => model.rollingOf(repository),
    templatesOf: (repository) => model.templatesOf(repository),
    podByIp,
    async lookupPod(ip, patience = 0) {
      if (patience > 0 && !podByIp(ip)) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(done, patience)
          function done(): void {
            clearTimeout(timer)
            drop(expected, ip, done)
            resolve()
          }
          put(expected, ip, done)
        })
      }
      return podByIp(ip)
    },
    get synced() {
      return nodeWatch.synced && podWatch.synced
    },
    get knowsOpenNamespaces() {
      return namespaces.synced
    },
    async whenSynced(signal) {
      await Promise.all([nodeWatch.whenSynced(signal), podWatch.whenSynced(signal)])
    },
    async whenComplete(signal) {
      await Promise.all(all.map(([, watch]) => watch.whenSynced(signal)))
    },
    pod: (namespace, name) => podWatch.items.get(`${namespace}/${name}`),
    workload: (kind, namespace, name) => workloads.get(kind)?.items.get(`${namespace}/${name}`),
    freshness: () =>
      all.map(([resource, watch]) => ({
        resource,
        age: watch.age(),
        reconnects: watch.reconnects,
        relists: watch.relists,
      })),
    async stop() {
      await Promise.all(all.map(([, watch]) => watch.stop()))
    },
  }
}
