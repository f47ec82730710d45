import { isDeepStrictEqual } from 'node:util'
import { labels } from '../../api/names.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import { watchResource, type ResourceWatch, type WatchOptions } from '../../kernel/k8s/watch.ts'
import type { Logger } from '../../kernel/log.ts'
import type { PodSource } from '../listener/admit.ts'
import type { AgentFacts, ClusterView, NodeFacts, PodFacts, WorkloadFacts } from './cluster.ts'
import { createImageNames, type ImageNames } from './image-names.ts'
import { addressesOf, createPodIndex, drop, put } from './pod-index.ts'
import { readNode, type RawNode } from './read-node.ts'
import { readPod, type RawPod } from './read-pod.ts'
import { readWorkload, type RawWorkload } from './read-workload.ts'

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
  /** Changes whenever nodes or agents do. */
  generation(): number
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
  /** Looks at every pod: for rare questions only. */
  podsWhere(condition: (pod: PodFacts) => boolean): PodFacts[]
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
  /** How often the agents have changed. */
  readonly agentChanges: () => number
  readonly running?: (node: string) => number
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
  const pods = createPodIndex(images)
  const expected = new Map<string, Set<() => void>>()
  const templates = new Map<string, Set<WorkloadFacts>>()
  const shared = { client, logger, ...tuning }

  let nodeChanges = 0
  const nodeWatch = watchResource<RawNode, NodeFacts>({
    ...shared,
    resource: resources.nodes,
    pick: readNode,
    // Kubelets rewrite their node's status every few minutes, mostly without news for us.
    onUpsert: (_, node, previous) => (nodeChanges += isDeepStrictEqual(node, previous) ? 0 : 1),
    onDelete: () => (nodeChanges += 1),
  })
  const podWatch = watchResource<RawPod, PodFacts>({
    ...shared,
    resource: resources.pods,
    pick: (pod) => readPod(pod, images),
    onUpsert(_, pod, previous) {
      pods.update(pod, previous)
      for (const ip of addressesOf(pod)) for (const arrived of expected.get(ip) ?? []) arrived()
    },
    onDelete: (_, previous) => pods.update(undefined, previous),
  })
  const openNamespaces = watchResource<KubernetesObject, true>({
    ...shared,
    resource: resources.namespaces,
    labelSelector: `${labels.plaintext}=allow`,
    pick: () => true,
  })
  const forget = (workload: WorkloadFacts | undefined): void => {
    for (const image of workload?.images ?? []) drop(templates, images.repository(image), workload as WorkloadFacts)
  }
  const workloads = new Map(
    workloadKinds.map(([kind, resource]) => [
      kind as string,
      watchResource<RawWorkload, WorkloadFacts>({
        ...shared,
        resource,
        pick: (object) => readWorkload(kind, object, images),
        onUpsert: (_, workload, previous) => {
          forget(previous)
          for (const image of workload.images) put(templates, images.repository(image), workload)
        },
        onDelete: (_, previous) => forget(previous),
      }),
    ]),
  )
  const all: readonly (readonly [string, ResourceWatch<unknown>])[] = [
    ['nodes', nodeWatch],
    ['pods', podWatch],
    ['namespaces', openNamespaces],
    ...[...workloads].map(([kind, watch]) => [kind.toLowerCase(), watch] as const),
  ]
  const podByIp = (ip: string): PodSource | undefined => {
    const pod = pods.byIp(ip)
    if (!pod) return undefined
    const { namespace, name, serviceAccount } = pod
    return { namespace, name, serviceAccount, plaintext: openNamespaces.items.has(namespace) }
  }
  return {
    images,
    nodes: nodeWatch.items,
    get agents() {
      return options.agents()
    },
    waitingFor: (image) => pods.waitingFor(image),
    rollingOf: (repository) => pods.rollingOf(repository),
    templatesOf: (repository) => templates.get(repository) ?? [],
    running: options.running ?? (() => 0),
    generation: () => nodeChanges + options.agentChanges(),
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
      return openNamespaces.synced
    },
    async whenSynced(signal) {
      await Promise.all([nodeWatch.whenSynced(signal), podWatch.whenSynced(signal)])
    },
    async whenComplete(signal) {
      await Promise.all(all.map(([, watch]) => watch.whenSynced(signal)))
    },
    pod: (namespace, name) => podWatch.items.get(`${namespace}/${name}`),
    podsWhere: (condition) => [...podWatch.items.values()].filter(condition),
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
