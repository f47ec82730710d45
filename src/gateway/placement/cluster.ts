import type { AgentFacts, NodeFacts, PodFacts, WorkloadFacts } from './facts.ts'
import type { NodeTable } from './model/nodes.ts'
import type { RollingPods } from './model/pod-index.ts'
import type { PodWorld } from './scheduling/pod-filters.ts'

export type * from './facts.ts'

/** A picture of the cluster at one moment. Nothing here waits or fails. */
export interface ClusterView {
  readonly nodes: ReadonlyMap<string, NodeFacts>
  readonly agents: ReadonlyMap<string, AgentFacts>
  readonly table: NodeTable
  readonly world: PodWorld
  /** Pods on a node with a container that waits for this normalised name, in no order. */
  waitingFor(image: string): ReadonlySet<PodFacts>
  /** The normalised names that such pods wait for. */
  waitingImages(): Iterable<string>
  /** Pods that run an image of this repository and whose successors will be on the same nodes. */
  rollingOf(repository: string): RollingPods
  /** Workloads whose template names an image of this repository, in no order. */
  templatesOf(repository: string): ReadonlySet<WorkloadFacts>
  /** Builds that run or wait for their turn, by node, as far as this gateway knows. Idle nodes are left out. */
  readonly busy: ReadonlyMap<string, number>
}
