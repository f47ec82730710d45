import type {
  AgentFacts,
  ClusterView,
  NodeFacts,
  PodFacts,
  Subject,
  WorkloadFacts,
} from '../../../src/gateway/placement/cluster.ts'
import { createImageNames } from '../../../src/gateway/placement/image-names.ts'
import { createModel, type Model } from '../../../src/gateway/placement/model/model.ts'
import type { ProfileFacts } from '../../../src/gateway/placement/facts.ts'
import type { PlacementRequest } from '../../../src/gateway/placement/placer.ts'
import { rememberPools } from '../../../src/gateway/placement/pool.ts'
import type { RuleInput } from '../../../src/gateway/placement/rules/rule.ts'
import { readDemand, type Demand } from '../../../src/gateway/placement/scheduling/demand.ts'
import type { RawPodSpec } from '../../../src/gateway/placement/scheduling/pod-spec.ts'
import { readAmounts } from '../../../src/gateway/placement/scheduling/requests.ts'

const names = createImageNames()

/** A small cluster written down in a test. Everything has a default that makes a node able to build. */
export interface Sketch {
  readonly nodes: Readonly<Record<string, Partial<NodeFacts> & { readonly agent?: Partial<AgentFacts> | null }>>
  readonly pods?: readonly PodSketch[]
  readonly workloads?: readonly (Partial<WorkloadFacts> & { readonly images: readonly string[] })[]
  readonly running?: Readonly<Record<string, number>>
}

export type PodSketch = Partial<Omit<PodFacts, 'profile' | 'slot'>> & { readonly profile?: Partial<ProfileFacts> }

/** What a pod with this spec demands. */
export const demandOf = (spec: RawPodSpec = {}, labels: Readonly<Record<string, string>> = {}): Demand =>
  readDemand({ namespace: 'default', labels, spec })

export function workloadFacts(workload: Partial<WorkloadFacts>): WorkloadFacts {
  return {
    kind: 'Deployment',
    namespace: 'default',
    name: 'web',
    images: [],
    demand: demandOf(),
    everyNode: false,
    replaces: false,
    ...workload,
  }
}

export function sketch(cluster: Sketch): Model {
  const agents = new Map<string, AgentFacts>()
  const busy = new Map(Object.entries(cluster.running ?? {}))
  const model = createModel({ images: names, agents: () => agents, busy: () => busy })
  for (const [name, { agent, ...facts }] of Object.entries(cluster.nodes)) {
    model.setNode({
      name,
      ready: true,
      unschedulable: false,
      pressure: [],
      platform: 'linux/amd64',
      labels: { 'kubernetes.io/hostname': name },
      taints: [],
      allocatable: readAmounts({ cpu: '4', memory: '8Gi', pods: '110' }),
      ...facts,
    })
    if (agent === null) continue
    const platforms = [facts.platform ?? 'linux/amd64']
    agents.set(name, { node: name, ready: true, trouble: undefined, draining: false, platforms, ...agent })
  }
  for (const workload of cluster.workloads ?? []) model.updateWorkload(workloadFacts(workload), undefined)
  for (const pod of cluster.pods ?? []) model.updatePod(podFacts(model, pod), undefined)
  return model
}

export function podFacts(model: Pick<Model, 'table' | 'profiles'>, { profile, ...pod }: PodSketch): PodFacts {
  return {
    namespace: 'default',
    name: 'web-1',
    node: undefined,
    slot: pod.node === undefined ? undefined : model.table.slot(pod.node),
    created: 0,
    owner: undefined,
    ip: undefined,
    secondIp: undefined,
    serviceAccount: 'default',
    waiting: [],
    rolling: [],
    homeless: undefined,
    ...pod,
    profile: model.profiles.intern({
      namespace: pod.namespace ?? 'default',
      serviceAccount: 'default',
      owner: pod.owner,
      labels: {},
      requests: new Map(),
      ports: [],
      antiAffinity: [],
      terminating: false,
      ...profile,
    }),
  }
}

export function ask(view: ClusterView, request: Partial<PlacementRequest> = {}, subject?: Subject): RuleInput {
  const images = request.images ?? []
  const cacheKey = request.cacheKey ?? images[0] ?? ''
  const platforms = request.platforms ?? []
  const pool = rememberPools(view)(platforms, request)
  return {
    view,
    subject,
    repositoryOf: (image) => names.repository(image),
    pool,
    request: { images, platforms, cacheKey, ...request },
  }
}
