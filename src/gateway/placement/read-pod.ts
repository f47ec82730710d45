import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import type { Owner, PodFacts, WaitingContainer, WorkloadFacts } from './cluster.ts'
import type { ImageNames } from './image-names.ts'
import type { Model } from './model/model.ts'
import { PodRecord } from './model/pod-record.ts'
import { imagesOf } from './read-workload.ts'
import { hostPorts, readAntiAffinity, readDemand } from './scheduling/demand.ts'
import type { RawContainer, RawPodSpec } from './scheduling/pod-spec.ts'
import { podRequests, type RawContainerResources } from './scheduling/requests.ts'
import type { Labels } from './scheduling/selector.ts'

interface RawContainerStatus extends RawContainerResources {
  readonly state?: {
    readonly waiting?: { readonly reason?: string }
    readonly running?: object
    readonly terminated?: { readonly exitCode?: number }
  }
  /** False until its startup probe has succeeded. */
  readonly started?: boolean
}

/** core/v1 Pod, as far as it is read. */
export interface RawPod extends KubernetesObject {
  readonly spec?: RawPodSpec
  readonly status?: {
    readonly phase?: string
    readonly podIP?: string
    readonly podIPs?: readonly { readonly ip?: string }[]
    readonly conditions?: readonly { readonly type: string; readonly reason?: string }[]
    readonly containerStatuses?: readonly RawContainerStatus[]
    readonly initContainerStatuses?: readonly RawContainerStatus[]
    readonly ephemeralContainerStatuses?: readonly RawContainerStatus[]
  }
}

/**
 * Reasons of a container that could start if its image were there: kubelet's pkg/kubelet/images/types.go, and the two
 * it gives before it has tried.
 */
const imageReasons = new Set([
  'ErrImageNeverPull',
  'ErrImagePull',
  'ImagePullBackOff',
  'RegistryUnavailable',
  'ContainerCreating',
  'PodInitializing',
])

const none: readonly never[] = []
const noLabels: Labels = {}

/** Where pods are put: gives them their node's slot and the profile they share. */
export type PodHome = Pick<Model, 'profiles' | 'table'>

/** Takes from a pod what placement needs; undefined for pods that are over. */
export function readPod(pod: RawPod, names: ImageNames, { profiles, table }: PodHome): PodFacts | undefined {
  const { metadata, spec = {}, status } = pod
  if (status?.phase === 'Succeeded' || status?.phase === 'Failed') return undefined
  const terminating = metadata?.deletionTimestamp !== undefined
  const slot = spec.nodeName ? table.slot(spec.nodeName) : undefined
  // A pod that is being deleted can still talk to us, but no image will help it.
  const live = slot !== undefined && !terminating
  const owner = ownerOf(pod)
  const namespace = metadata?.namespace ?? ''
  const labels = metadata?.labels ?? noLabels
  const profile = profiles.intern({
    namespace,
    owner,
    serviceAccount: spec.serviceAccountName ?? 'default',
    labels,
    requests: requestsOf(pod),
    ports: hostPorts(spec),
    antiAffinity: readAntiAffinity(spec, namespace, labels),
    terminating,
  })
  const name = metadata?.name ?? ''
  return new PodRecord({
    name,
    slot,
    profile,
    created: Date.parse(metadata?.creationTimestamp ?? '') || 0,
    ip: spec.hostNetwork ? undefined : status?.podIP,
    secondIp: spec.hostNetwork ? undefined : status?.podIPs?.find(({ ip }) => ip !== status.podIP)?.ip,
    waiting: live ? waitingContainers(pod, names) : none,
    rolling: live && rollsInPlace(pod, owner) ? runningImages(pod, names) : none,
    homeless: slot || terminating || owner ? undefined : homeless(pod, names),
  })
}

/** A pod that nobody owns and that has no node is its own template. */
function homeless({ metadata, spec = {} }: RawPod, names: ImageNames): WorkloadFacts {
  const { namespace = '', name = '', labels = noLabels } = metadata ?? {}
  const demand = readDemand({ namespace, labels, spec })
  return { kind: 'Pod', namespace, name, images: imagesOf(spec, names), demand, everyNode: false, replaces: false }
}

function requestsOf({ spec = {}, status }: RawPod): ReturnType<typeof podRequests> {
  const statuses = [...(status?.containerStatuses ?? []), ...(status?.initContainerStatuses ?? [])]
  const pending = status?.conditions?.find((c) => c.type === 'PodResizePending')
  return podRequests(spec, { statuses, resizeInfeasible: pending?.reason === 'Infeasible' })
}

/** Container specs with their state, of all three kinds. `behind`: an init container has to end before it begins. */
function* containers(pod: RawPod) {
  const { spec, status } = pod
  const groups = [
    [spec?.initContainers, status?.initContainerStatuses],
    [spec?.containers, status?.containerStatuses],
    [spec?.ephemeralContainers, status?.ephemeralContainerStatuses],
  ] as const
  let behind = false
  for (const [specs = [], statuses = []] of groups) {
    for (const container of specs) {
      const own = statuses.find((s) => s.name === container.name)
      yield { container, state: own?.state, behind: behind && specs !== spec?.ephemeralContainers }
      if (specs === spec?.initContainers) behind ||= !letsOthersBegin(container, own)
    }
  }
}

/** Init containers begin one after the other, each when the one before has ended or, as a sidecar, has started. */
const letsOthersBegin = ({ restartPolicy }: RawContainer, status: RawContainerStatus | undefined): boolean =>
  restartPolicy === 'Always'
    ? status?.state?.running !== undefined && status.started !== false
    : status?.state?.terminated?.exitCode === 0

function waitingContainers(pod: RawPod, names: ImageNames): readonly WaitingContainer[] {
  const waiting: WaitingContainer[] = []
  for (const { container, state, behind } of containers(pod)) {
    const reason = state === undefined ? 'Scheduled' : state.waiting?.reason
    if (reason === undefined || (state !== undefined && !imageReasons.has(reason))) continue
    const image = names.normalize(container.image ?? '')
    const pullPolicy = container.imagePullPolicy ?? ''
    if (image !== undefined) waiting.push({ image, reason, pullPolicy, ...(behind ? { behind } : {}) })
  }
  return waiting.length === 0 ? none : waiting
}

function runningImages(pod: RawPod, names: ImageNames): readonly string[] {
  const images = new Set<string>()
  for (const { container, state } of containers(pod)) {
    const image = state?.running === undefined ? undefined : names.normalize(container.image ?? '')
    if (image !== undefined) images.add(image)
  }
  return images.size === 0 ? none : [...images]
}

/** DaemonSets replace pods node by node; so does whatever is bound to nodes by selector or required affinity. */
function rollsInPlace(pod: RawPod, owner: Owner | undefined): boolean {
  if (owner?.kind === 'DaemonSet' || owner?.kind === 'StatefulSet') return true
  if (owner === undefined || owner.kind === 'Job') return false
  const affinity = pod.spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution
  return affinity !== undefined || Object.keys(pod.spec?.nodeSelector ?? {}).length > 0
}

/**
 * The workload a person would name. A Deployment's ReplicaSet is called `<deployment>-<hash>`, the hash being the
 * pods' label `pod-template-hash`, so the ReplicaSet itself need not be read.
 */
function ownerOf(pod: RawPod): Owner | undefined {
  const reference = pod.metadata?.ownerReferences?.find((o) => o.controller)
  if (!reference) return undefined
  const hash = pod.metadata?.labels?.['pod-template-hash']
  if (reference.kind === 'ReplicaSet' && hash && reference.name.endsWith(`-${hash}`)) {
    return { kind: 'Deployment', name: reference.name.slice(0, -hash.length - 1) }
  }
  return { kind: reference.kind, name: reference.name }
}
