import { setTimeout as pause } from 'node:timers/promises'
import { type Build, buildResources } from '../../api/builds/builds.ts'
import { workspaceContainer } from '../../api/builds/work.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import type { LogWriter } from './log-writer.ts'

export interface BuildLogsOptions {
  readonly client: KubernetesClient
  readonly namespace: string
  readonly name: string
  /** Until the Build has ended, over all its attempts. */
  readonly follow: boolean
  /** Of one container; without it of all, in their order. */
  readonly container?: string | undefined
  /** Lines from the end of each container. */
  readonly tail?: number | undefined
  readonly timestamps?: boolean | undefined
  readonly out: LogWriter
  /** Told what is waited for, and which container speaks. */
  readonly say: (line: string) => void
  /** Milliseconds between two looks. Default 1000. */
  readonly interval?: number
}

interface ContainerStatus {
  readonly name: string
  readonly state?: { readonly running?: object; readonly terminated?: object }
}

interface Pod extends KubernetesObject {
  readonly spec?: {
    readonly initContainers?: readonly { readonly name: string }[]
    readonly containers?: readonly { readonly name: string }[]
  }
  readonly status?: {
    readonly phase?: string
    readonly initContainerStatuses?: readonly ContainerStatus[]
    readonly containerStatuses?: readonly ContainerStatus[]
  }
}

/**
 * Writes what the containers of a Build say, in their order.
 * @returns the Build as it was seen last.
 * @throws InsituError NO_LOGS when there is no pod that could say something
 */
export async function writeBuildLogs(options: BuildLogsOptions): Promise<Build> {
  const { client, namespace, name, follow, say, interval = 1000 } = options
  let told: string | undefined
  let read: string | undefined
  for (;;) {
    const build = await client.get<Build>(buildResources.builds, { namespace, name })
    const { pod, phase = 'Queued', message } = build.status ?? {}
    const over = hasEnded(build)
    const state = message === undefined || over ? phase : `${phase}: ${message}`
    if (pod !== undefined && pod !== read) {
      if (await writePod(options, pod)) read = pod
    }
    if (over || !follow) {
      if (read !== undefined || writeLastLines(build, options)) return build
      throw new InsituError('NO_LOGS', `Build ${namespace}/${name} has no pod with logs (${state})`, {
        status: 'NOT_FOUND',
        fix: over
          ? 'pods of ended Builds stay for spec.cleanUp.pod, five minutes where it says nothing'
          : '-f waits for it',
      })
    }
    if (state !== told && read === undefined) say(`Build ${namespace}/${name} is ${state}`)
    told = state
    await pause(interval)
  }
}

/** One that waits for pulls has the status of what the last of them began, and no end of its own. */
const hasEnded = ({ status }: Build): boolean =>
  status?.completionTime !== undefined ||
  (status?.pulls?.last !== undefined && ['Succeeded', 'Failed', 'Cancelled'].includes(status.phase ?? ''))

/** Of a Build whose pod is gone, what it said at its end. @returns false when it was nothing. */
function writeLastLines(build: Build, { out, say, tail }: BuildLogsOptions): boolean {
  const { message, pod = 'its pod' } = build.status ?? {}
  if (!hasEnded(build) || message === undefined) return false
  say(`--- ${pod} is gone; its last lines, from the status of the Build:`)
  out.lines({ pod: build.status?.pod }, lastOf(message, tail))
  return true
}

/** What is known of attempts that were lost: their pods are gone. @throws InsituError NO_LOGS when there is none */
export async function writeFormerAttempts(options: BuildLogsOptions): Promise<Build> {
  const { client, namespace, name, out, say, tail } = options
  const build = await client.get<Build>(buildResources.builds, { namespace, name })
  const former = build.status?.former ?? []
  if (former.length === 0) {
    throw new InsituError('NO_LOGS', `Build ${namespace}/${name} has had no other attempt`, { status: 'NOT_FOUND' })
  }
  for (const { attempt, pod, node, message, completionTime } of former) {
    const where = [pod, node && `node ${node}`, completionTime].filter(Boolean).join(', ')
    say(`--- attempt ${attempt}${where === '' ? '' : ` (${where})`}: its last lines`)
    out.lines({ pod, attempt }, lastOf(message ?? '', tail))
  }
  return build
}

function lastOf(text: string, tail: number | undefined): string[] {
  const lines = text.split('\n')
  return tail === undefined ? lines : lines.slice(Math.max(0, lines.length - tail))
}

/** @returns false when the pod is not there, or nothing of it has started. */
async function writePod(options: BuildLogsOptions, name: string): Promise<boolean> {
  const { client, namespace, follow, interval = 1000 } = options
  const find = (): Promise<Pod | undefined> => client.find<Pod>(resources.pods, { namespace, name })
  let wrote = false
  const all = containersOf(await find())
  const { container: wanted } = options
  if (wanted !== undefined && all.length > 0 && !all.includes(wanted)) {
    throw new InsituError('NO_CONTAINER', `pod ${namespace}/${name} has no container ${wanted}`, {
      ...{ status: 'NOT_FOUND', fix: `it has ${all.join(', ')}` },
    })
  }
  for (const container of wanted === undefined ? all : all.filter((one) => one === wanted)) {
    for (;;) {
      const pod = await find()
      const begun = pod && hasStarted(pod, container)
      if (begun) await writeContainer(options, name, container)
      wrote ||= begun === true
      // In a pod that has ended nothing starts any more.
      if (begun || !pod || !follow || pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed') break
      await pause(interval)
    }
  }
  return wrote
}

async function writeContainer(options: BuildLogsOptions, pod: string, container: string): Promise<void> {
  const { client, namespace, follow, tail, timestamps, out, say } = options
  say(`--- ${pod}: ${container}`)
  const log = await client.openLog({ namespace, name: pod }, { container, follow, tail, timestamps })
  await out.stream({ pod, container }, log, timestamps === true)
}

/**
 * In the order in which they run: before the last come those that run one after the other. Not the one of ours that runs
 * beside them to the end: it would be waited for.
 */
const containersOf = (pod: Pod | undefined): string[] =>
  [...(pod?.spec?.initContainers ?? []), ...(pod?.spec?.containers ?? [])]
    .map(({ name }) => name)
    .filter((name) => name !== workspaceContainer)

function hasStarted({ status }: Pod, container: string): boolean {
  const all = [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])]
  const state = all.find(({ name }) => name === container)?.state
  return state?.running !== undefined || state?.terminated !== undefined
}
