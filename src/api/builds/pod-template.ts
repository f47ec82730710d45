/** Kubernetes' own objects, as far as a Build's pod is put together from them. What else they hold is kept. */
export interface PodTemplate {
  readonly metadata?: {
    readonly labels?: Readonly<Record<string, string>>
    readonly annotations?: Readonly<Record<string, string>>
  }
  readonly spec?: PodSpec
}

export interface PodSpec {
  readonly containers?: readonly Container[]
  readonly initContainers?: readonly Container[]
  readonly volumes?: readonly Named[]
  readonly [field: string]: unknown
}

export interface Named {
  readonly name: string
  readonly [field: string]: unknown
}

export interface Container extends Named {
  readonly image?: string
  readonly env?: readonly Named[]
  readonly volumeMounts?: readonly {
    readonly name: string
    readonly mountPath: string
    readonly [field: string]: unknown
  }[]
}

/** A step is a container; without a name it gets one. */
export interface ContainerStep {
  readonly name?: string
  readonly image?: string
  readonly [field: string]: unknown
}
