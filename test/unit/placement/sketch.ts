import { repositoryOf } from '../../../src/buildkit/reference.ts'
import type {
  AgentFacts,
  ClusterView,
  Constraints,
  NodeFacts,
  PodFacts,
  Subject,
  WorkloadFacts,
} from '../../../src/gateway/placement/cluster.ts'
import { createImageNames } from '../../../src/gateway/placement/image-names.ts'
import { createPodIndex } from '../../../src/gateway/placement/pod-index.ts'
import type { PlacementRequest } from '../../../src/gateway/placement/placer.ts'
import { poolOf, type Pools } from '../../../src/gateway/placement/pool.ts'
import type { RuleInput } from '../../../src/gateway/placement/rules/rule.ts'

/** A small cluster written down in a test. Everything has a default that makes a node able to build. */
export interface Sketch {
  readonly nodes: Readonly<Record<string, Partial<NodeFacts> & { readonly agent?: Partial<AgentFacts> | null }>>
  readonly pods?: readonly Partial<PodFacts>[]
  readonly workloads?: readonly (Partial<WorkloadFacts> & { readonly images: readonly string[] })[]
  readonly running?: Readonly<Record<string, number>>
}

export const noConstraints: Constraints = { nodeName: undefined, nodeSelector: {}, terms: undefined, tolerations: [] }

export function sketch(cluster: Sketch): ClusterView {
  const index = createPodIndex(createImageNames())
  const view = {
    nodes: new Map<string, NodeFacts>(),
    agents: new Map<string, AgentFacts>(),
    waitingFor: (image: string) => index.waitingFor(image),
    rollingOf: (repository: string) => index.rollingOf(repository),
    templatesOf: (repository: string) => workloads.filter((w) => w.images.some((i) => repositoryOf(i) === repository)),
    running: (node: string) => cluster.running?.[node] ?? 0,
  }
  for (const [name, { agent, ...facts }] of Object.entries(cluster.nodes)) {
    view.nodes.set(name, {
      name,
      ready: true,
      unschedulable: false,
      pressure: [],
      platform: 'linux/amd64',
      labels: { 'kubernetes.io/hostname': name },
      taints: [],
      ...facts,
    })
    if (agent === null) continue
    const platforms = [facts.platform ?? 'linux/amd64']
    view.agents.set(name, { node: name, ready: true, trouble: undefined, draining: false, platforms, ...agent })
  }
  const workloads = (cluster.workloads ?? []).map((w): WorkloadFacts => ({
    kind: 'Deployment',
    namespace: 'default',
    name: 'web',
    constraints: noConstraints,
    everyNode: false,
    ...w,
  }))
  for (const pod of cluster.pods ?? []) index.update(podFacts(pod), undefined)
  return view
}

export function podFacts(pod: Partial<PodFacts>): PodFacts {
  return {
    namespace: 'default',
    name: 'web-1',
    node: undefined,
    created: 0,
    owner: undefined,
    ip: undefined,
    secondIp: undefined,
    serviceAccount: 'default',
    waiting: [],
    rolling: [],
    ...pod,
  }
}

export function ask(view: ClusterView, request: Partial<PlacementRequest> = {}, subject?: Subject): RuleInput {
  const images = request.images ?? []
  const cacheKey = request.cacheKey ?? images[0] ?? ''
  const pools: Pools = (platforms) => poolOf(view, platforms)
  return { view, subject, repositoryOf, pools, request: { images, platforms: [], cacheKey, ...request } }
}
