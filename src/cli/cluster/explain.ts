import { annotations } from '../../api/names.ts'
import type { NodeReport } from '../../api/node-report.ts'
import type { ClusterEvent, Pod } from './objects.ts'

/** What an agent pod says about its node; undefined when it says nothing, or nothing readable. */
export function reportOf(pod: Pod): NodeReport | undefined {
  const text = pod.metadata?.annotations?.[annotations.nodeReport]
  if (text === undefined) return undefined
  try {
    const report = JSON.parse(text) as NodeReport
    return report.version === 1 ? report : undefined
  } catch {
    return undefined
  }
}

export interface Explanation {
  readonly text: string
  readonly fix?: string | undefined
  /** It will not get better by waiting. */
  readonly stuck: boolean
}

/**
 * Why a pod is not ready, in one sentence; undefined for one that is.
 * @param events those of this pod.
 */
export function explainPod(pod: Pod, events: readonly ClusterEvent[]): Explanation | undefined {
  const { status } = pod
  const condition = (type: string) => status?.conditions?.find((c) => c.type === type)
  if (pod.metadata?.deletionTimestamp !== undefined) return waiting('is stopping')
  if (condition('Ready')?.status === 'True') return undefined
  if (status?.phase === 'Failed') return stuck(`has failed: ${status.message ?? status.reason ?? 'no reason given'}`)
  const scheduled = condition('PodScheduled')
  if (scheduled?.status === 'False') return waiting(`has no node yet: ${scheduled.message ?? 'unscheduled'}`)

  const [container] = status?.containerStatuses ?? []
  const last = container?.lastState?.terminated ?? container?.state?.terminated
  const blocked = container?.state?.waiting
  const image = blocked?.reason === 'ErrImagePull' || blocked?.reason === 'ImagePullBackOff'
  if (image || blocked?.reason === 'InvalidImageName' || blocked?.reason === 'ErrImageNeverPull') {
    // The back-off's own message only repeats that there is one: the event says what the registry answered.
    const why = newest(events, (e) => e.reason === 'Failed' && !e.message?.startsWith('Error: '))
    return stuck(`cannot get its image: ${why ?? blocked?.message ?? blocked?.reason}`, {
      fix: 'Give an image the nodes can pull with --image, or load it into their containerd.',
    })
  }
  if (blocked?.reason === 'CrashLoopBackOff' || (last && !container?.state?.running)) {
    const said = last?.message?.trim().split('\n').slice(-3).join('\n')
    return stuck(`ends again and again (exit code ${last?.exitCode ?? '?'}${said ? `): ${said}` : ')'}`)
  }
  if (!container?.state?.running) {
    const why = newest(events, (e) => e.type === 'Warning')
    if (why !== undefined) return mountFix(why)
    return waiting(newest(events, () => true) ?? blocked?.message ?? 'is being created')
  }
  const fatal = reportOf(pod)?.findings.filter((f) => f.severity === 'fatal') ?? []
  if (fatal.length > 0) {
    return stuck(fatal.map((f) => `${f.message} [${f.code}]`).join('; '), { fix: fatal.find((f) => f.fix)?.fix })
  }
  const state = reportOf(pod)?.state
  if (state === 'ready') return waiting('takes builds, and the kubelet has not noticed yet')
  return waiting(`runs and is not ready yet${state === undefined ? '' : ` (${state})`}`)
}

function mountFix(why: string): Explanation {
  const hostPath = /hostPath type check failed: (\S+)/.exec(why)?.[1]
  if (hostPath === undefined) return waiting(why)
  return stuck(`the node has no directory ${hostPath}`, {
    fix: 'Its containerd lives elsewhere: install with --distribution, or --containerd-root and --containerd-state.',
  })
}

/** What helps when pods are not even made; undefined where the events say all there is. */
export const warningFix = (warnings: readonly string[]): string | undefined =>
  warnings.some((text) => text.includes('insufficient quota to match these scopes'))
    ? 'The cluster wants a ResourceQuota for this class of priority: insitu install writes one; or take another class with --agent-priority-class.'
    : undefined

const waiting = (text: string): Explanation => ({ text, stuck: false })
const stuck = (text: string, more: { fix?: string | undefined } = {}): Explanation => ({ text, stuck: true, ...more })

/** The message of the newest event that fits. */
function newest(events: readonly ClusterEvent[], fits: (event: ClusterEvent) => boolean): string | undefined {
  const time = (e: ClusterEvent): string => e.lastTimestamp ?? e.eventTime ?? e.metadata?.creationTimestamp ?? ''
  return events
    .filter(fits)
    .toSorted((a, b) => (time(a) < time(b) ? 1 : -1))
    .find((e) => e.message)?.message
}
