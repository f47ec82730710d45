import { InsituError } from '../../kernel/errors.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import type { KubernetesObject, OwnerReference } from '../../kernel/k8s/objects.ts'
import { resources, type Resource } from '../../kernel/k8s/resources.ts'
import type { Subject } from './cluster.ts'
import { readWorkload, type RawWorkload } from './read-workload.ts'
import { byAge } from './model/pod-index.ts'
import type { LiveView } from './view.ts'

export interface WorkloadName {
  /** `Deployment` */
  readonly kind: string
  readonly namespace: string
  readonly name: string
}

/** Kind, resource and the short names of it. */
const kinds: readonly (readonly [string, Resource, readonly string[]])[] = [
  ['Deployment', resources.deployments, ['deploy']],
  ['StatefulSet', resources.statefulSets, ['sts']],
  ['DaemonSet', resources.daemonSets, ['ds']],
  ['ReplicaSet', resources.replicaSets, ['rs']],
  ['Job', resources.jobs, []],
  ['CronJob', resources.cronJobs, ['cj']],
  ['Pod', resources.pods, ['po']],
]

/** The names kubectl takes for each kind: `deploy`, `deployments`, `deployments.apps`, `deployments.v1.apps`. */
const kindByName: ReadonlyMap<string, string> = new Map(
  kinds.flatMap(([kind, { plural, version, group }, short]) => {
    const groups = group === '' ? [''] : ['', `.${group}`, `.${version}.${group}`]
    const names = [kind.toLowerCase(), plural, ...short]
    return names.flatMap((name) => groups.map((suffix) => [`${name}${suffix}`, kind] as const))
  }),
)

/**
 * Reads `[NAMESPACE/]KIND/NAME`, KIND as kubectl takes it.
 * @throws InsituError WORKLOAD_NAME
 */
export function parseWorkload(text: string, defaultNamespace: string): WorkloadName {
  const parts = text.split('/')
  const [name = '', kindText = '', namespace = defaultNamespace] = parts.toReversed()
  const kind = kindByName.get(kindText.toLowerCase())
  if (parts.length < 2 || parts.length > 3 || !kind || name === '' || namespace === '') {
    throw new InsituError('WORKLOAD_NAME', `"${text}" names no workload`, {
      status: 'INVALID_ARGUMENT',
      fix: 'Write [NAMESPACE/]KIND/NAME with a KIND of deploy, sts, ds, rs, job, cronjob or pod, as in deploy/web.',
    })
  }
  return { kind, namespace, name }
}

/**
 * Looks up what `insitu.for` names: its pods in the view, and the object itself at the API server if the view does not
 * have it, since a user may have made it a moment ago.
 * @throws InsituError WORKLOAD_UNKNOWN, WORKLOAD_IDLE, and what the API server refuses
 */
export async function findSubject(workload: WorkloadName, view: LiveView, client: KubernetesClient): Promise<Subject> {
  const { kind, namespace, name } = workload
  const label = labelOf(workload)
  if (kind === 'Pod') {
    const known = view.pod(namespace, name)
    if (known?.node !== undefined) return { label, pods: [known], workload: undefined }
    return known?.homeless ? { label, pods: [], workload: known.homeless } : fetchSubject(workload, view, client)
  }
  const owners = kind === 'CronJob' ? await jobsOf(client, namespace, name) : [name]
  const { profiles } = view.world
  const ofOwner = (owner: string) => profiles.ownedBy(kind === 'CronJob' ? 'Job' : kind, namespace, owner)
  // Those that are being deleted run no image that comes now, and on a node that died they stay for ever.
  const staying = [...owners].flatMap((owner) => [...ofOwner(owner)]).filter(({ terminating }) => !terminating)
  const pods = staying.flatMap((profile) => [...profile.pods])
  const template = view.workload(kind, namespace, name)
  if (!template && pods.length === 0) return fetchSubject(workload, view, client)
  return { label, pods: pods.sort(byAge), workload: template }
}

/** One that has no pods on nodes and that the view does not have. */
async function fetchSubject(workload: WorkloadName, view: LiveView, client: KubernetesClient): Promise<Subject> {
  const { kind, namespace, name } = workload
  const label = labelOf(workload)
  const resource = kinds.find(([k]) => k === kind)?.[1]
  const object = resource && (await client.find<RawWorkload>(resource, { namespace, name }))
  if (!object) throw unknown(label)
  const template = readWorkload(kind, object, view.images)
  if (template) return { label, pods: [], workload: template }
  const owner = object.metadata?.ownerReferences?.find((reference) => reference.controller)
  // The view has the pods of its ReplicaSets under the Deployment.
  if (owner?.kind === 'Deployment') return findSubject({ kind: owner.kind, namespace, name: owner.name }, view, client)
  throw idle(kind === 'Job' ? `${label} is over: it starts no more pods` : notItself(label, owner))
}

const labelOf = ({ kind, namespace, name }: WorkloadName): string =>
  `${kind === 'Pod' ? 'pod' : kind} ${namespace}/${name}`

const notItself = (label: string, owner: OwnerReference | undefined): string =>
  `${label} has no pods on nodes${owner ? `, and ${owner.kind} ${owner.name} decides when it gets some` : ''}`

async function jobsOf(client: KubernetesClient, namespace: string, cronJob: string): Promise<Set<string>> {
  const jobs = await client.list<KubernetesObject>(resources.jobs, { namespace })
  const owned = jobs.filter((j) => j.metadata?.ownerReferences?.some((o) => o.kind === 'CronJob' && o.name === cronJob))
  return new Set(owned.map((j) => j.metadata?.name ?? ''))
}

const idle = (message: string): InsituError =>
  new InsituError('WORKLOAD_IDLE', message, {
    status: 'FAILED_PRECONDITION',
    fix: 'Name the workload that will run the image, or leave insitu.for out.',
  })

const unknown = (label: string): InsituError =>
  new InsituError('WORKLOAD_UNKNOWN', `there is no ${label}`, {
    status: 'NOT_FOUND',
    fix: 'Check kind, name and namespace; write NAMESPACE/KIND/NAME if it is not in the default one.',
  })
