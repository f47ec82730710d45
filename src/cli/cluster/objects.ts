import type { KubernetesObject } from '../../kernel/k8s/objects.ts'

/** The parts of Kubernetes' objects that install, uninstall and status read. */
export interface Pod extends KubernetesObject {
  readonly spec?: { readonly nodeName?: string }
  readonly status?: {
    readonly phase?: string
    readonly reason?: string
    readonly message?: string
    readonly conditions?: readonly Condition[]
    readonly containerStatuses?: readonly ContainerStatus[]
  }
}

export interface Condition {
  readonly type: string
  readonly status: string
  readonly reason?: string
  readonly message?: string
}

export interface ContainerStatus {
  readonly ready?: boolean
  readonly restartCount?: number
  readonly containerID?: string
  readonly state?: ContainerState
  readonly lastState?: ContainerState
}

interface ContainerState {
  readonly waiting?: { readonly reason?: string; readonly message?: string }
  readonly running?: { readonly startedAt?: string }
  readonly terminated?: { readonly reason?: string; readonly exitCode?: number; readonly message?: string }
}

export interface Workload extends KubernetesObject {
  readonly spec?: { readonly replicas?: number; readonly template?: { readonly spec?: PodTemplate } }
  readonly status?: {
    readonly observedGeneration?: number
    /** Deployment. */
    readonly replicas?: number
    readonly updatedReplicas?: number
    readonly availableReplicas?: number
    /** DaemonSet. */
    readonly desiredNumberScheduled?: number
    readonly updatedNumberScheduled?: number
    readonly numberReady?: number
  }
}

interface PodTemplate {
  readonly imagePullSecrets?: readonly { readonly name: string }[]
  readonly containers?: readonly { readonly image?: string; readonly args?: readonly string[] }[]
}

export interface Node extends KubernetesObject {
  readonly spec?: {
    readonly unschedulable?: boolean
    readonly providerID?: string
    readonly taints?: readonly { readonly key: string; readonly effect: string }[]
  }
  readonly status?: {
    readonly conditions?: readonly Condition[]
    readonly nodeInfo?: {
      readonly kubeletVersion?: string
      readonly containerRuntimeVersion?: string
      readonly operatingSystem?: string
      readonly osImage?: string
    }
  }
}

export interface ClusterEvent extends KubernetesObject {
  readonly type?: string
  readonly reason?: string
  readonly message?: string
  readonly lastTimestamp?: string | null
  readonly eventTime?: string | null
  readonly involvedObject?: { readonly kind?: string; readonly name?: string; readonly uid?: string }
}

export interface Service extends KubernetesObject {
  readonly spec?: { readonly clusterIP?: string; readonly ports?: readonly { readonly port: number }[] }
}

export const isReadyNode = (node: Node): boolean =>
  (node.status?.conditions ?? []).some((c) => c.type === 'Ready' && c.status === 'True')

export const nameOf = ({ metadata }: KubernetesObject): string => metadata?.name ?? ''
