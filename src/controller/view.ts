import type { Build, BuildTemplate } from '../api/builds/builds.ts'
import { buildContainer, buildUidLabel, jobRoleLabel, type Outcome, workspaceContainer } from '../api/builds/work.ts'
import type { KubernetesObject } from '../kernel/k8s/objects.ts'

/** A Job of ours as far as decisions need it. */
export interface JobView {
  readonly namespace: string
  readonly name: string
  readonly buildUid: string
  readonly role: string
  readonly deleting: boolean
  readonly state: 'active' | 'complete' | 'failed'
  /** Of a failed one: `DeadlineExceeded`, `BackoffLimitExceeded`, … */
  readonly reason: string | undefined
  /** Milliseconds since 1970. */
  readonly createdAt: number
}

export interface PodView {
  readonly name: string
  readonly uid: string
  readonly job: string
  readonly buildUid: string
  readonly phase: string
  readonly deleting: boolean
  /** Of a deleted one: when its grace is over, in milliseconds since 1970. */
  readonly endsAt: number | undefined
  /** Whether a container of it may still run. */
  readonly live: boolean
  /** What the build said at its end. */
  readonly outcome: Outcome | undefined
  /** Taken away by the cluster: node lost, drained, evicted, preempted. */
  readonly disrupted: string | undefined
  /** Why it does not run, of the scheduler or of a container that waits. */
  readonly waiting: string | undefined
  /** A container other than the build's that failed, or the build's without an outcome. */
  readonly failed: { readonly container: string; readonly message: string } | undefined
  readonly building: boolean
  /** Exit codes of its containers that have ended, by name. */
  readonly exits: ReadonlyMap<string, number>
  /** Its containers that run, less those before them and sidecars that the kubelet ends by itself. */
  readonly running: readonly string[]
}

/** The cluster as the controller sees it. */
export interface View {
  readonly builds: readonly Build[]
  /** By `BuildTemplate/NAMESPACE/NAME` and `ClusterBuildTemplate/NAME`. */
  readonly templates: ReadonlyMap<string, BuildTemplate>
  /** By `NAMESPACE/NAME`. */
  readonly jobs: ReadonlyMap<string, JobView>
  /** By `NAMESPACE/JOB`. */
  readonly pods: ReadonlyMap<string, readonly PodView[]>
  /** Nodes on which builds can run now; their daemons are ready. */
  readonly buildNodes: number
}

interface RawJob extends KubernetesObject {
  readonly status?: {
    readonly conditions?: readonly { readonly type: string; readonly status: string; readonly reason?: string }[]
  }
}

export function readJob(job: RawJob): JobView | undefined {
  const { namespace = '', name = '', labels = {}, deletionTimestamp, creationTimestamp = '' } = job.metadata ?? {}
  const buildUid = labels[buildUidLabel]
  if (buildUid === undefined) return undefined
  const holds = (type: string) => job.status?.conditions?.find((c) => c.type === type && c.status === 'True')
  // FailureTarget comes before Failed, which waits for pods: on a lost node those do not end.
  const failed = holds('Failed') ?? holds('FailureTarget')
  const complete = holds('Complete') ?? holds('SuccessCriteriaMet')
  return {
    ...{ namespace, name, buildUid, role: labels[jobRoleLabel] ?? 'build', deleting: deletionTimestamp !== undefined },
    state: failed ? 'failed' : complete ? 'complete' : 'active',
    reason: failed?.reason,
    createdAt: Date.parse(creationTimestamp),
  }
}

interface Terminated {
  readonly exitCode?: number
  readonly reason?: string
  readonly message?: string
}

interface RawContainerStatus {
  readonly name: string
  readonly state?: {
    readonly waiting?: { readonly reason?: string; readonly message?: string }
    readonly running?: object
    readonly terminated?: Terminated
  }
}

interface RawPod extends KubernetesObject {
  readonly status?: {
    readonly phase?: string
    readonly reason?: string
    readonly message?: string
    readonly conditions?: readonly {
      readonly type: string
      readonly status: string
      readonly reason?: string
      readonly message?: string
    }[]
    readonly initContainerStatuses?: readonly RawContainerStatus[]
    readonly containerStatuses?: readonly RawContainerStatus[]
  }
}

export function readPod(pod: RawPod): PodView | undefined {
  const { name = '', uid = '', labels = {}, deletionTimestamp } = pod.metadata ?? {}
  const buildUid = labels[buildUidLabel]
  if (buildUid === undefined) return undefined
  const { status = {} } = pod
  // The one beside them runs as long as the pod does, and how it ends says nothing about the build.
  const all = [...(status.initContainerStatuses ?? []), ...(status.containerStatuses ?? [])]
  const statuses = all.filter((one) => one.name !== workspaceContainer)
  const own = statuses.find((one) => one.name === buildContainer)
  const disruption = status.conditions?.find((c) => c.type === 'DisruptionTarget' && c.status === 'True')
  const unscheduled = status.conditions?.find((c) => c.type === 'PodScheduled' && c.status === 'False')
  const phase = status.phase ?? 'Pending'
  const outcome = readOutcome(own?.state?.terminated)
  return {
    ...{ name, uid, buildUid, phase, deleting: deletionTimestamp !== undefined, outcome },
    // The time of deletion is the one at which the grace ends.
    endsAt: deletionTimestamp === undefined ? undefined : Date.parse(deletionTimestamp),
    job: labels['batch.kubernetes.io/job-name'] ?? labels['job-name'] ?? '',
    live: phase === 'Running' || (phase === 'Pending' && statuses.some((one) => one.state?.running !== undefined)),
    disrupted:
      disruption?.message ??
      disruption?.reason ??
      ([
        'Evicted',
        'NodeLost',
        'Shutdown',
        'NodeShutdown',
        'Terminated',
        'Preempting',
        'UnexpectedAdmissionError',
      ].includes(status.reason ?? '')
        ? (status.message ?? status.reason)
        : undefined),
    waiting: waitingFor(statuses) ?? unscheduled?.message,
    failed: failedContainer(statuses, outcome),
    building: own?.state?.running !== undefined,
    exits: new Map(
      statuses.flatMap(({ name: container, state }) => {
        const { exitCode } = state?.terminated ?? {}
        return exitCode === undefined ? [] : [[container, exitCode] as const]
      }),
    ),
    running: (status.containerStatuses ?? []).filter(({ state }) => state?.running).map((one) => one.name),
  }
}

function readOutcome(terminated: Terminated | undefined): Outcome | undefined {
  const { message: text = '' } = terminated ?? {}
  for (const json of [text, ...beforeCut(text)]) {
    try {
      return checkedOutcome(JSON.parse(json))
    } catch {
      // The next has less of it.
    }
  }
  return undefined
}

/**
 * What may still be read of an outcome that the kubelet has cut, as it does where a pod has more containers than its Job
 * says: all of it where only the message was cut, its last field, or else how it ended and what was pushed, its first.
 */
function beforeCut(text: string): string[] {
  // The cut may be in the midst of an escaped character, of which the longest has six.
  const inMessage = text.includes(',"message":"') ? [0, 1, 2, 3, 4, 5] : []
  const [first] = /^\{"result":"\w+"(,"digest":"[^"]*")?/.exec(text) ?? []
  return [...inMessage.map((less) => `${text.slice(0, text.length - less)}"}`), ...(first ? [`${first}}`] : [])]
}

/**
 * A pod may write anything: a field that the status could not take would keep the Build from ever ending. Undefined
 * for what is no outcome.
 */
function checkedOutcome(value: unknown): Outcome | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { result, names, ...fields } = value as Readonly<Record<string, unknown>>
  if (result !== 'succeeded' && result !== 'failed' && result !== 'infrastructure') return undefined
  const text = (field: string, most: number): string | undefined => {
    const said = fields[field]
    return typeof said === 'string' && said !== '' ? said.slice(0, most) : undefined
  }
  const known = Array.isArray(names) ? names.filter((name) => typeof name === 'string' && name.length <= 512) : []
  return {
    result,
    ...(known.length === 0 ? {} : { names: (known as string[]).slice(0, 16) }),
    ...{ digest: text('digest', 128), node: text('node', 253), platform: text('platform', 1024) },
    ...basesOf(fields['bases']),
    ...{ commit: text('commit', 64), message: text('message', 4096), note: text('note', 2048) },
  }
}

/** Undefined when they are not what they should be: then they are not known. */
function basesOf(value: unknown): Pick<Outcome, 'bases'> | undefined {
  if (!Array.isArray(value)) return undefined
  const bases = (value as readonly unknown[]).flatMap((one) => {
    const { name, digest, pinned } = (one ?? {}) as Readonly<Record<string, unknown>>
    if (typeof name !== 'string' || typeof digest !== 'string' || name.length > 512 || digest.length > 128) return []
    return [{ name, digest, ...(pinned === true ? { pinned } : {}) }]
  })
  return bases.length === value.length && bases.length <= 64 ? { bases } : undefined
}

function waitingFor(statuses: readonly RawContainerStatus[]): string | undefined {
  const usual = ['PodInitializing', 'ContainerCreating']
  const waiting = statuses.map((one) => one.state?.waiting).find((w) => w?.reason && !usual.includes(w.reason))
  return waiting && [waiting.reason, waiting.message].filter(Boolean).join(': ')
}

function failedContainer(statuses: readonly RawContainerStatus[], outcome: Outcome | undefined): PodView['failed'] {
  for (const { name, state } of statuses) {
    const { terminated } = state ?? {}
    if (!terminated || terminated.exitCode === 0) continue
    if (name === buildContainer && outcome !== undefined) continue
    const how =
      terminated.reason === 'OOMKilled' ? 'was killed for memory' : `ended with exit code ${terminated.exitCode}`
    const said = terminated.message?.trim()
    return { container: name, message: `container ${name} ${how}${said ? `: ${said}` : ''}` }
  }
  return undefined
}
