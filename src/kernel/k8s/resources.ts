/** A kind of object as the API server addresses it. `group` is empty for the core group. */
export interface Resource {
  readonly group: string
  readonly version: string
  /** Lower case plural: `replicasets`. */
  readonly plural: string
  readonly namespaced: boolean
}

const core = (plural: string, namespaced = true): Resource => ({ group: '', version: 'v1', plural, namespaced })
const apps = (plural: string): Resource => ({ group: 'apps', version: 'v1', plural, namespaced: true })
const batch = (plural: string): Resource => ({ group: 'batch', version: 'v1', plural, namespaced: true })

/** The kinds our roles read and write. Anything else is found by discovery, see `KubernetesClient.resource`. */
export const resources = {
  pods: core('pods'),
  nodes: core('nodes', false),
  namespaces: core('namespaces', false),
  secrets: core('secrets'),
  configMaps: core('configmaps'),
  services: core('services'),
  serviceAccounts: core('serviceaccounts'),
  events: core('events'),
  persistentVolumes: core('persistentvolumes', false),
  persistentVolumeClaims: core('persistentvolumeclaims'),
  deployments: apps('deployments'),
  replicaSets: apps('replicasets'),
  statefulSets: apps('statefulsets'),
  daemonSets: apps('daemonsets'),
  leases: { group: 'coordination.k8s.io', version: 'v1', plural: 'leases', namespaced: true },
  jobs: batch('jobs'),
  cronJobs: batch('cronjobs'),
  tokenReviews: { group: 'authentication.k8s.io', version: 'v1', plural: 'tokenreviews', namespaced: false },
  serviceCidrs: { group: 'networking.k8s.io', version: 'v1', plural: 'servicecidrs', namespaced: false },
  subjectAccessReviews: {
    group: 'authorization.k8s.io',
    version: 'v1',
    plural: 'subjectaccessreviews',
    namespaced: false,
  },
  selfSubjectAccessReviews: {
    group: 'authorization.k8s.io',
    version: 'v1',
    plural: 'selfsubjectaccessreviews',
    namespaced: false,
  },
} as const satisfies Record<string, Resource>

/** Which object, or which collection when `name` is absent. Namespaced collections without a namespace: all of them. */
export interface ObjectRef {
  readonly namespace?: string | undefined
  readonly name?: string | undefined
  /** `status`, `scale`, `token`, `log`, … */
  readonly subresource?: string | undefined
}

/** The URL path of an object or collection. */
export function resourcePath(resource: Resource, ref: ObjectRef = {}): string {
  const parts = resource.group === '' ? ['api', resource.version] : ['apis', resource.group, resource.version]
  if (resource.namespaced && ref.namespace !== undefined) parts.push('namespaces', ref.namespace)
  parts.push(resource.plural)
  if (ref.name !== undefined) parts.push(ref.name)
  if (ref.subresource !== undefined) parts.push(ref.subresource)
  return `/${parts.map(encodeURIComponent).join('/')}`
}

/** For people: `pods default/web-1`, `deployments.apps in namespace default`, `nodes`. */
export function describeRef(resource: Resource, ref: ObjectRef = {}): string {
  const kind =
    (resource.group === '' ? resource.plural : `${resource.plural}.${resource.group}`) +
    (ref.subresource === undefined ? '' : `/${ref.subresource}`)
  if (ref.name !== undefined) return `${kind} ${ref.namespace === undefined ? '' : `${ref.namespace}/`}${ref.name}`
  return ref.namespace === undefined ? kind : `${kind} in namespace ${ref.namespace}`
}
