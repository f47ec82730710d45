import type { Build, BuildStatus, FormerAttempt, Recipe } from '../../api/builds/builds.ts'
import { reasons } from '../../api/builds/status.ts'
import { buildContainer, type Outcome } from '../../api/builds/work.ts'
import type { JobView, PodView } from '../view.ts'
import { seconds } from './duration.ts'
import { lastContainer } from './job.ts'
import { defaults } from './recipe.ts'
import { timeText } from './status.ts'

/** How a Build ended. */
export interface End {
  readonly phase: 'Succeeded' | 'Failed' | 'Cancelled'
  readonly reason: string
  /** A sentence; of a failed build its last lines. */
  readonly message: string
  /** Not the fault of what was built. */
  readonly infrastructure?: boolean
  readonly outcome?: Outcome | undefined
  readonly pod?: string | undefined
}

/**
 * Whether our own containers have ended, one after the other, and the Job is not over only because one beside them goes
 * on, which a mesh or a pod template has put there. A pod that is taken away ends by itself.
 */
export function keptByOthers(pods: readonly PodView[], recipe: Recipe): boolean {
  const last = lastContainer(recipe)
  return pods.some(
    ({ exits, running, deleting, disrupted }) =>
      exits.has(last) && running.length > 0 && !deleting && disrupted === undefined,
  )
}

/** What is seen of an attempt. */
export interface Attempt {
  readonly job: JobView
  readonly pods: readonly PodView[]
  readonly build: Build
  readonly recipe: Recipe
  readonly now: Date
}

/**
 * Reads the end of an attempt from its Job and pods. `later`: the Job is over and its pod has not been seen to end.
 */
export function endOf(attempt: Attempt): End | 'later' | undefined {
  const end = readEnd(attempt)
  const note = typeof end === 'object' ? end.outcome?.note : undefined
  return note === undefined || typeof end !== 'object' ? end : { ...end, message: `${end.message}\n${note}` }
}

function readEnd({ job, pods, build, recipe, now }: Attempt): End | 'later' | undefined {
  const { view: pod, ...where } = lastPod(pods)
  const { outcome } = where
  // How others end says nothing about the build; a sidecar may have kept the pod until its time was over.
  const done = pods.some(({ exits }) => exits.get(lastContainer(recipe)) === 0)
  if (done || job.state === 'complete') {
    if (outcome === undefined) {
      // Its message is part of the pod's last status, which may come after the Job's.
      return !done && pods.some(({ phase }) => phase === 'Running' || phase === 'Pending')
        ? 'later'
        : { phase: 'Succeeded', reason: reasons.succeeded, message: 'built', ...where }
    }
    const digest = outcome.digest === undefined ? '' : ` ${outcome.digest}`
    // Many long names find no room in what a pod can say.
    const names = outcome.names ?? recipe.output?.names
    const known = { ...outcome, ...(names === undefined ? {} : { names }) }
    return { phase: 'Succeeded', reason: reasons.succeeded, message: `built${digest}`, ...where, outcome: known }
  }
  if (job.reason === 'DeadlineExceeded') {
    const timeout = seconds(recipe.timeout ?? defaults.timeout, 'timeout')
    const why = pods.length === 0 ? build.status?.message : pod?.waiting
    const waiting = why === undefined ? '' : `; it waited: ${why}`
    return {
      ...{ phase: 'Failed', reason: reasons.timeout, ...where },
      message: `it took longer than its timeout of ${timeout} s${waiting}`,
    }
  }
  if (outcome?.result === 'failed') {
    return { phase: 'Failed', reason: reasons.failed, message: outcome.message ?? 'the build failed', ...where }
  }
  if (job.state === 'failed' && pods.some((one) => isEnding(one, recipe, now))) return 'later'
  const lost = (message: string): End => ({
    ...{ phase: 'Failed', reason: reasons.infrastructure, message, infrastructure: true, ...where },
  })
  const disrupted = pods.map((one) => one.disrupted).find((one) => one !== undefined)
  if (disrupted !== undefined) return lost([disrupted, outcome?.message].filter(Boolean).join('\n'))
  if (outcome?.result === 'infrastructure') return lost(outcome.message ?? 'the connection to the build was lost')
  const failed = pods.map((one) => one.failed).find((one) => one !== undefined)
  // Nor is it the step's fault when its pod was taken away from it.
  if (pods.some((one) => one.failed !== undefined && one.deleting))
    return lost(`the pod was deleted: ${failed?.message}`)
  // A step that fails is the author's, as is a build that failed and whose word was lost; else it was killed.
  const itself = pods.some(({ exits }) => exits.get(buildContainer) === 1)
  if (failed !== undefined && (failed.container !== buildContainer || itself)) {
    return { phase: 'Failed', reason: reasons.failed, message: failed.message, ...where }
  }
  if (failed !== undefined) return lost(failed.message)
  if (pods.some(({ phase, deleting }) => !deleting && (phase === 'Running' || phase === 'Pending'))) return 'later'
  return lost(`the pod of attempt ${build.status?.attempt ?? 1} is gone`)
}

/**
 * Whether a pod of a failed Job has still to end before the next attempt begins. A pod that is deleted counts as failed at
 * once and has its grace nevertheless: until it has said how it ended, or could have. One with a claim may write to the
 * directory of the next until it is gone; one that nobody ends is given up (`lostPods`).
 */
function isEnding({ phase, deleting, outcome, endsAt = 0 }: PodView, { workspace }: Recipe, now: Date): boolean {
  if (phase !== 'Running' && phase !== 'Pending') return false
  return workspace !== undefined || (deleting && outcome === undefined && now.getTime() < endsAt)
}

/** The pod of an attempt that has something to say, and what. */
export function lastPod(pods: readonly PodView[]): {
  readonly view: PodView | undefined
  readonly pod: string | undefined
  readonly outcome: Outcome | undefined
} {
  const view = pods.find(({ outcome }) => outcome !== undefined) ?? pods[0]
  return { view, pod: view?.name, outcome: view?.outcome }
}

/** What a pod knew, as fields of the status; what stands there already and is not contradicted stays. */
export function knownOf(outcome: Outcome | undefined, { status }: Build): Partial<BuildStatus> {
  const { digest, names, node, platform, commit, bases } = outcome ?? {}
  const all = { digest, names, node, platform, commit, bases }
  const said = Object.entries(all).filter(([field, value]) => value ?? status?.[field as keyof typeof all])
  return Object.fromEntries(said.map(([field, value]) => [field, value ?? status?.[field as keyof typeof all]]))
}

/** Characters of what is kept of an attempt that was lost. */
const room = 4000

export const formerAttempt = (build: Build, attempt: number, end: End, now: Date): FormerAttempt => ({
  attempt,
  pod: end.pod ?? build.status?.pod,
  node: end.outcome?.node,
  message: end.message.slice(-room),
  completionTime: timeText(now),
})
