import type { Labels, RawSelector, Requirement } from './selector.ts'

/** core/v1 as far as placement reads it. */
export interface RawResources {
  readonly requests?: Readonly<Record<string, string>>
  readonly limits?: Readonly<Record<string, string>>
}

export interface RawContainer {
  readonly name: string
  readonly image?: string
  readonly imagePullPolicy?: string
  /** `Always` makes an init container a sidecar. */
  readonly restartPolicy?: string
  readonly resources?: RawResources
  readonly ports?: readonly {
    readonly containerPort?: number
    readonly hostPort?: number
    readonly hostIP?: string
    readonly protocol?: string
  }[]
}

/** nodeSelectorTerm: all of its requirements must hold. */
export interface NodeTerm {
  readonly matchExpressions?: readonly Requirement[]
  readonly matchFields?: readonly Requirement[]
}

export interface Toleration {
  readonly key?: string
  readonly operator?: string
  readonly value?: string
  readonly effect?: string
}

export interface RawPodAffinityTerm {
  readonly labelSelector?: RawSelector
  readonly namespaces?: readonly string[]
  readonly namespaceSelector?: RawSelector
  readonly topologyKey: string
  readonly matchLabelKeys?: readonly string[]
  readonly mismatchLabelKeys?: readonly string[]
}

export interface RawPodAffinity {
  readonly requiredDuringSchedulingIgnoredDuringExecution?: readonly RawPodAffinityTerm[]
}

export interface RawSpread {
  readonly maxSkew: number
  readonly topologyKey: string
  readonly whenUnsatisfiable: string
  readonly labelSelector?: RawSelector
  readonly minDomains?: number
  readonly nodeAffinityPolicy?: string
  readonly nodeTaintsPolicy?: string
  readonly matchLabelKeys?: readonly string[]
}

export interface RawPodSpec {
  readonly nodeName?: string
  readonly hostNetwork?: boolean
  readonly serviceAccountName?: string
  readonly nodeSelector?: Labels
  readonly tolerations?: readonly Toleration[]
  readonly affinity?: {
    readonly nodeAffinity?: {
      readonly requiredDuringSchedulingIgnoredDuringExecution?: { readonly nodeSelectorTerms?: readonly NodeTerm[] }
    }
    readonly podAffinity?: RawPodAffinity
    readonly podAntiAffinity?: RawPodAffinity
  }
  readonly topologySpreadConstraints?: readonly RawSpread[]
  readonly containers?: readonly RawContainer[]
  readonly initContainers?: readonly RawContainer[]
  readonly ephemeralContainers?: readonly RawContainer[]
  readonly overhead?: Readonly<Record<string, string>>
  readonly resources?: RawResources
  readonly volumes?: readonly {
    readonly name?: string
    readonly persistentVolumeClaim?: { readonly claimName: string }
    /** The claim is called `<pod>-<volume>`. */
    readonly ephemeral?: object
  }[]
}
