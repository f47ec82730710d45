/** What placement knows of a cluster: plain data, so that decisions can be made and tested without one. */

import type { Demand, HostPort, PodTerm } from './scheduling/demand.ts'
import type { NodeTerm } from './scheduling/pod-spec.ts'
import type { Amounts } from './scheduling/requests.ts'
import type { Labels } from './scheduling/selector.ts'

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
  /** Why it will be gone soon: `the cluster autoscaler removes it (taint …)`. */
  readonly leaving?: string | undefined
  /** `linux/amd64` */
  readonly platform: string
  readonly labels: Readonly<Record<string, string>>
  readonly taints: readonly Taint[]
  /** What its pods may request together, `pods` among it. */
  readonly allocatable: Amounts
  /** IP addresses. */
  readonly addresses?: readonly string[]
  /** Ranges that its pods have their addresses from. */
  readonly podRanges?: readonly string[]
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
  /** Those that run without an emulator, where the agent says so. */
  readonly native?: readonly string[] | undefined
  /** Its daemon has a store of its own: images cannot stay on the node. Absent: they can. */
  readonly rootless?: boolean
}

/** A container that has not started and whose image may be why. */
export interface WaitingContainer {
  /** Normalised. */
  readonly image: string
  /** The kubelet's reason, or `Scheduled` when the kubelet has said nothing yet. */
  readonly reason: string
  readonly pullPolicy: string
  /** An init container before it has not ended: the kubelet does not ask for its image yet. */
  readonly behind?: boolean
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
  /** Its node's place in the model. */
  readonly slot: NodeSlot | undefined
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
  /** What the scheduler counts of it; shared with its like. */
  readonly profile: Profile
  /** Only for a pod that nobody owns and that has no node yet: where it may go. */
  readonly homeless: WorkloadFacts | undefined
}

export interface WorkloadFacts {
  /** `Deployment`, … or `Pod`. */
  readonly kind: string
  readonly namespace: string
  readonly name: string
  /** Normalised images of the template. */
  readonly images: readonly string[]
  readonly demand: Demand
  /** One pod per node that passes, as DaemonSets do. */
  readonly everyNode: boolean
  /** Its old pods are gone before new ones come: they take no room from them. */
  readonly replaces: boolean
}

/** What `insitu.for` names, looked up. */
export interface Subject {
  /** `deployment default/web` */
  readonly label: string
  /** Its pods that are on a node and stay there, oldest first. */
  readonly pods: readonly PodFacts[]
  /** Its template, for when it has no pods on nodes yet. */
  readonly workload: WorkloadFacts | undefined
}

/** A node's place in the model, and what its pods take of it. */
export interface NodeSlot {
  /** Dense, for arrays; given to another node when this one is gone with all its pods. */
  readonly index: number
  readonly name: string
  /** `hash` of its name. */
  readonly hash: number
  /** Undefined while only pods or an agent speak of the node. */
  readonly facts: NodeFacts | undefined
  readonly pods: number
  /** Sum of the requests of its pods. */
  readonly requested: Amounts
  readonly ports: readonly HostPort[]
}

/** What pods of one workload have in common: kept once, however many there are. */
export interface ProfileFacts {
  readonly namespace: string
  readonly owner: Owner | undefined
  readonly serviceAccount: string
  readonly labels: Labels
  readonly requests: Amounts
  readonly ports: readonly HostPort[]
  /** Required terms, which bind other pods as well. */
  readonly antiAffinity: readonly PodTerm[]
  /** Being deleted: takes its resources, but is not counted in spreads. */
  readonly terminating: boolean
}

export interface Profile extends ProfileFacts {
  readonly key: string
  /** Pods on nodes. */
  readonly pods: ReadonlySet<PodFacts>
}

/** A volume that not every node can use. */
export interface VolumeFacts {
  /** Its nodeAffinity. */
  readonly terms: readonly NodeTerm[] | undefined
  /** The zones or regions of its labels, by label: the node's must be one of them. */
  readonly zones: ReadonlyMap<string, readonly string[]>
}
