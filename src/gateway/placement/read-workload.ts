import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import type { Constraints, NodeTerm, Toleration, WorkloadFacts } from './cluster.ts'
import type { ImageNames } from './image-names.ts'

interface RawContainer {
  readonly name: string
  readonly image?: string
  readonly imagePullPolicy?: string
}

/** core/v1 PodSpec, as far as it is read. */
export interface RawPodSpec {
  readonly nodeName?: string
  readonly hostNetwork?: boolean
  readonly serviceAccountName?: string
  readonly nodeSelector?: Readonly<Record<string, string>>
  readonly tolerations?: readonly Toleration[]
  readonly affinity?: {
    readonly nodeAffinity?: {
      readonly requiredDuringSchedulingIgnoredDuringExecution?: { readonly nodeSelectorTerms?: readonly NodeTerm[] }
    }
  }
  readonly containers?: readonly RawContainer[]
  readonly initContainers?: readonly RawContainer[]
  readonly ephemeralContainers?: readonly RawContainer[]
}

/** Deployment, StatefulSet, DaemonSet, ReplicaSet, Job or CronJob. */
export interface RawWorkload extends KubernetesObject {
  readonly spec?: {
    readonly replicas?: number
    readonly suspend?: boolean
    readonly template?: { readonly spec?: RawPodSpec }
    readonly jobTemplate?: { readonly spec?: { readonly template?: { readonly spec?: RawPodSpec } } }
  }
  readonly status?: { readonly completionTime?: string }
}

/** The taints that the DaemonSet controller lets every daemon pod tolerate: pkg/controller/daemon/util. */
const daemonTolerations: readonly Toleration[] = [
  'not-ready',
  'unreachable',
  'disk-pressure',
  'memory-pressure',
  'pid-pressure',
  'unschedulable',
].map((name) => ({ key: `node.kubernetes.io/${name}`, operator: 'Exists' }))

/**
 * Takes from a workload what placement needs. Undefined for those that start no pods by themselves: ReplicaSets of a
 * Deployment (the Deployment counts), Jobs that are done.
 */
export function readWorkload(kind: string, object: RawWorkload, names: ImageNames): WorkloadFacts | undefined {
  const { metadata, spec } = object
  if (kind === 'ReplicaSet' && metadata?.ownerReferences?.some((o) => o.controller)) return undefined
  if (kind === 'Job' && object.status?.completionTime !== undefined) return undefined
  const template = spec?.template?.spec ?? spec?.jobTemplate?.spec?.template?.spec
  if (!template) return undefined
  const everyNode = kind === 'DaemonSet'
  const constraints = readConstraints(template)
  return {
    kind,
    namespace: metadata?.namespace ?? '',
    name: metadata?.name ?? '',
    images: imagesOf(template, names),
    constraints: everyNode
      ? { ...constraints, tolerations: [...constraints.tolerations, ...daemonTolerations] }
      : constraints,
    everyNode,
  }
}

export function readConstraints(spec: RawPodSpec): Constraints {
  const required = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution
  return {
    nodeName: spec.nodeName || undefined,
    nodeSelector: spec.nodeSelector ?? {},
    terms: required === undefined ? undefined : (required.nodeSelectorTerms ?? []),
    tolerations: spec.tolerations ?? [],
  }
}

function imagesOf(spec: RawPodSpec, names: ImageNames): readonly string[] {
  const images = [...(spec.initContainers ?? []), ...(spec.containers ?? [])].map((c) => names.normalize(c.image ?? ''))
  return [...new Set(images.filter((i) => i !== undefined))]
}
