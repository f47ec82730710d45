/**
 * What an agent says about its node, as JSON in the annotation `insitu.build/node-report` of its pod. Static facts
 * only: load is asked for at placement time. Nothing secret may enter it: every user who can read pods reads it.
 */
export interface NodeReport {
  readonly version: 1
  readonly node: string
  /** `rootless`: a daemon without privilege and with a store of its own; images cannot stay on the node. Else absent. */
  readonly mode?: 'rootless'
  /** False while the node takes no builds; the reason is in `findings` (severity `fatal`) or `state`. */
  readonly ready: boolean
  readonly state: 'starting' | 'ready' | 'restarting' | 'draining' | 'failed'
  /** OCI platform strings as buildkitd lists them, natives first: `linux/amd64`, `linux/arm/v7`. */
  readonly platforms: readonly string[]
  /** Those of `platforms` that run without an emulator. Absent where the agent does not know: the node's own then. */
  readonly nativePlatforms?: readonly string[]
  readonly buildkit: string
  readonly containerd: string
  readonly snapshotter: string
  /** `distribution` is kubeadm, k3s, rke2, microk8s, kind, … or `unknown`. */
  readonly distribution: string
  /** `bridge`: RUN steps have a network behind the pod's. `pod`: they share the agent pod's own. `host`: the node's. */
  readonly network: 'bridge' | 'host' | 'pod'
  /** `revision` of the node's ImageInventory: another number means that it is worth asking for again. */
  readonly imagesRevision?: number
  readonly findings: readonly Finding[]
}

/** One result of a host check, printed by `insitu doctor`. */
export interface Finding {
  /** Stable, for programs and documentation: `SCREAMING_SNAKE`. */
  readonly code: string
  /** fatal: the node takes no builds. warning: it does, with the stated limit. */
  readonly severity: 'fatal' | 'warning' | 'info'
  readonly message: string
  readonly fix?: string | undefined
}
