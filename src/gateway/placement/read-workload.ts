import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import type { WorkloadFacts } from './cluster.ts'
import type { ImageNames } from './image-names.ts'
import { readDemand } from './scheduling/demand.ts'
import type { RawPodSpec, Toleration } from './scheduling/pod-spec.ts'
import type { Labels } from './scheduling/selector.ts'

interface RawTemplate {
  readonly metadata?: { readonly labels?: Labels }
  readonly spec?: RawPodSpec
}

/** Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, CronJob, or a Pod, which is its own template. */
export interface RawWorkload extends KubernetesObject {
  readonly spec?: {
    readonly replicas?: number
    readonly ordinals?: { readonly start?: number }
    readonly strategy?: { readonly type?: string }
    readonly template?: RawTemplate
    readonly jobTemplate?: { readonly spec?: { readonly template?: RawTemplate } }
    readonly volumeClaimTemplates?: readonly KubernetesObject[]
  }
  readonly status?: {
    readonly completionTime?: string
    readonly conditions?: readonly { readonly type: string; readonly status: string }[]
  }
}

const tolerating = (effect: string, ...names: string[]): readonly Toleration[] =>
  names.map((name) => ({ key: `node.kubernetes.io/${name}`, operator: 'Exists', effect }))

/** The taints that the DaemonSet controller lets every daemon pod tolerate: pkg/controller/daemon/util. */
const daemonTolerations: readonly Toleration[] = [
  // Pods that are there stay on a node that is lost; none is made there.
  ...tolerating('NoExecute', 'not-ready', 'unreachable'),
  ...tolerating('NoSchedule', 'disk-pressure', 'memory-pressure', 'pid-pressure', 'unschedulable'),
]

const networkUnavailable = tolerating('NoSchedule', 'network-unavailable')

/**
 * Takes from a workload what placement needs. Undefined for those that start no pods by themselves: ReplicaSets of a
 * Deployment (the Deployment counts), Jobs that are done.
 */
export function readWorkload(kind: string, object: RawWorkload, names: ImageNames): WorkloadFacts | undefined {
  const { metadata, spec } = object
  if (kind === 'ReplicaSet' && metadata?.ownerReferences?.some((o) => o.controller)) return undefined
  if (kind === 'Job' && isOver(object.status)) return undefined
  const template = kind === 'Pod' ? (object as RawTemplate) : (spec?.template ?? spec?.jobTemplate?.spec?.template)
  if (!template?.spec) return undefined
  const everyNode = kind === 'DaemonSet'
  const namespace = metadata?.namespace ?? ''
  const own = template.metadata?.labels ?? {}
  // A new image makes a new revision, whose pods have a hash that no pod has yet.
  const labels = kind === 'Deployment' ? { ...own, 'pod-template-hash': '' } : own
  const tolerations = everyNode
    ? [
        ...(template.spec.tolerations ?? []),
        ...daemonTolerations,
        ...(template.spec.hostNetwork ? networkUnavailable : []),
      ]
    : (template.spec.tolerations ?? [])
  const demand = readDemand({ namespace, labels, spec: { ...template.spec, tolerations }, template: kind !== 'Pod' })
  return {
    kind,
    namespace,
    name: metadata?.name ?? '',
    images: imagesOf(template.spec, names),
    demand: kind === 'StatefulSet' ? { ...demand, claims: claimsOf(object, demand.claims[0] ?? []) } : demand,
    everyNode,
    replaces: everyNode || kind === 'StatefulSet' || spec?.strategy?.type === 'Recreate',
  }
}

/** A Job that failed has no completion time: pkg/controller/job, IsJobFinished. */
const isOver = ({ completionTime, conditions = [] }: NonNullable<RawWorkload['status']> = {}): boolean =>
  completionTime !== undefined ||
  conditions.some(({ type, status }) => (type === 'Complete' || type === 'Failed') && status === 'True')

/** A StatefulSet with more pods has the rest of them looked at when they exist. */
const mostOrdinals = 64

/** Each pod of a StatefulSet has claims of its own, `<template>-<set>-<ordinal>`, beside those all share. */
function claimsOf({ metadata, spec }: RawWorkload, shared: readonly string[]): readonly (readonly string[])[] {
  const templates = (spec?.volumeClaimTemplates ?? []).map((t) => t.metadata?.name ?? '')
  if (templates.length === 0) return shared.length === 0 ? [] : [shared]
  const start = spec?.ordinals?.start ?? 0
  const count = Math.min(Math.max(1, spec?.replicas ?? 1), mostOrdinals)
  return Array.from({ length: count }, (_, i) => [
    ...shared,
    ...templates.map((name) => `${name}-${metadata?.name ?? ''}-${start + i}`),
  ])
}

export function imagesOf(spec: RawPodSpec, names: ImageNames): readonly string[] {
  const images = [...(spec.initContainers ?? []), ...(spec.containers ?? [])].map((c) => names.normalize(c.image ?? ''))
  return [...new Set(images.filter((i) => i !== undefined))]
}
