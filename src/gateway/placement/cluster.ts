/** What placement knows of a cluster: plain data, so that decisions can be made and tested without one. */

export interface Taint {
  readonly key: string
  readonly value: string
  readonly effect: string
}

export interface NodeFacts {
  readonly name: string
  /** The kubelet reports (condition Ready is True). */
  readonly ready: boolean
  /** Cordoned. */
  readonly unschedulable: boolean
  /** `DiskPressure`, `MemoryPressure`, `PIDPressure` that are True. */
  readonly pressure: readonly string[]
  /** `linux/amd64` */
  readonly platform: string
  readonly labels: Readonly<Record<string, string>>
  readonly taints: readonly Taint[]
}

/** An agent as far as placement cares. */
export interface AgentFacts {
  readonly node: string
  /** Takes new builds. */
  readonly ready: boolean
  /** Why it does not, as the end of "its agent …": `is starting`, `reports SNAPSHOTTER_MISMATCH: …`. */
  readonly trouble: string | undefined
  readonly draining: boolean
  /** OCI platforms, natives first. */
  readonly platforms: readonly string[]
}

/** A container that has not started and whose image may be why. */
export interface WaitingContainer {
  /** Normalised. */
  readonly image: string
  /** The kubelet's reason, or `Scheduled` when the kubelet has said nothing yet. */
  readonly reason: string
  readonly pullPolicy: string
}

export interface Owner {
  /** `DaemonSet`, `StatefulSet`, `Job`, `ReplicaSet`, and `Deployment` for pods of a ReplicaSet of one. */
  readonly kind: string
  readonly name: string
}

export interface PodFacts {
  readonly namespace: string
  readonly name: string
  readonly node: string | undefined
  /** Milliseconds since 1970. */
  readonly created: number
  readonly owner: Owner | undefined
  /** Absent for pods in their node's network: the address is the node's then. */
  readonly ip: string | undefined
  /** Its address of the other family, where pods have two. */
  readonly secondIp: string | undefined
  readonly serviceAccount: string
  readonly waiting: readonly WaitingContainer[]
  /** Normalised images of running containers; only for pods whose successor will be on the same node, else empty. */
  readonly rolling: readonly string[]
}

/** nodeSelectorTerm: all of its requirements must hold. */
export interface NodeTerm {
  readonly matchExpressions?: readonly NodeRequirement[]
  readonly matchFields?: readonly NodeRequirement[]
}

export interface NodeRequirement {
  readonly key: string
  readonly operator: string
  readonly values?: readonly string[]
}

export interface Toleration {
  readonly key?: string
  readonly operator?: string
  readonly value?: string
  readonly effect?: string
}

/** The part of a pod template that decides which nodes it may run on. */
export interface Constraints {
  readonly nodeName: string | undefined
  readonly nodeSelector: Readonly<Record<string, string>>
  /** Required node affinity: one of the terms must hold. Undefined: no affinity; empty: no node matches. */
  readonly terms: readonly NodeTerm[] | undefined
  readonly tolerations: readonly Toleration[]
}

export interface WorkloadFacts {
  readonly kind: string
  readonly namespace: string
  readonly name: string
  /** Normalised images of the template. */
  readonly images: readonly string[]
  readonly constraints: Constraints
  /** One pod per node that passes, as DaemonSets do. */
  readonly everyNode: boolean
}

/** What `insitu.for` names, looked up. */
export interface Subject {
  /** `deployment default/web` */
  readonly label: string
  /** Its pods that are on a node, oldest first. */
  readonly pods: readonly PodFacts[]
  /** Its template, for when it has no pods on nodes yet. */
  readonly workload: WorkloadFacts | undefined
}

/** A picture of the cluster at one moment. Nothing here waits or fails. */
export interface ClusterView {
  readonly nodes: ReadonlyMap<string, NodeFacts>
  readonly agents: ReadonlyMap<string, AgentFacts>
  /** Pods on a node with a container that waits for this normalised name, in no order. */
  waitingFor(image: string): Iterable<PodFacts>
  /** Pods that run an image of this repository and whose successors will be on the same nodes, in no order. */
  rollingOf(repository: string): Iterable<PodFacts>
  /** Workloads whose template names an image of this repository, in no order. */
  templatesOf(repository: string): Iterable<WorkloadFacts>
  /** Builds that run on a node now, as far as this gateway knows. */
  running(node: string): number
}
