import { labels as ownLabels } from '../../api/names.ts'

/** A Kubernetes object as the API takes it. */
export interface KubernetesObject {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: ObjectMeta
  readonly [field: string]: unknown
}

export interface ObjectMeta {
  readonly name: string
  readonly namespace?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
}

/** One object of the installation with the comment that stands above it in the YAML. */
export interface Manifest {
  readonly comment: string
  readonly object: KubernetesObject
}

export type Component = 'gateway' | 'agent' | 'controller'

/** The label that finds every object of an installation again, whoever made it. */
export const partOf = { 'app.kubernetes.io/part-of': 'insitu' } as const

/** The recommended labels: https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/ */
export const objectLabels = (component?: Component): Record<string, string> => ({
  'app.kubernetes.io/name': 'insitu',
  ...(component === undefined ? {} : { 'app.kubernetes.io/component': component }),
  ...partOf,
  'app.kubernetes.io/managed-by': 'insitu',
})

/** The labels that select the pods of a role; a workload's selector cannot change later, so they are few. */
export const podSelector = (component: Component): Record<string, string> => ({
  'app.kubernetes.io/name': 'insitu',
  [ownLabels.role]: component,
})

/**
 * On pods, never in a selector: service meshes leave them alone. A sidecar before a gateway hides who is calling, and
 * one before an agent ends the TLS that both sides check.
 */
export const noSidecar = {
  labels: { 'sidecar.istio.io/inject': 'false' },
  annotations: { 'linkerd.io/inject': 'disabled' },
} as const

/** What tells an object apart from all others in the cluster, for messages: `Deployment buildkit-system/insitu-gateway`. */
export const objectName = ({ kind, metadata }: KubernetesObject): string =>
  `${kind} ${metadata.namespace === undefined ? '' : `${metadata.namespace}/`}${metadata.name}`
