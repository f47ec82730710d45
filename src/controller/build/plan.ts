import type { Build, BuildStatus, Recipe } from '../../api/builds/builds.ts'
import { reasons } from '../../api/builds/status.ts'
import { workspaceFinalizer } from '../../api/builds/work.ts'
import { describeError } from '../../kernel/errors.ts'
import type { JobView, PodView, View } from '../view.ts'
import type { Action } from './actions.ts'
import { seconds } from './duration.ts'
import { endOf, type End, formerAttempt, keptByOthers, knownOf, lastPod } from './end.ts'
import { cleanJobName, jobName } from './names.ts'
import { notCleaned } from './not-cleaned.ts'
import { broughtBy, defaults, lastRecipe, recipeNow, templateKey } from './recipe.ts'
import { sameStatus, timeText, withConditions } from './status.ts'

export interface Planned {
  readonly actions: readonly Action[]
  /** Seconds until this Build is to be looked at again although nothing happens. */
  readonly again?: number | undefined
}

const nothing: Planned = { actions: [] }

/** Whether a Build waits for its turn. */
export const isQueued = (build: Build): boolean =>
  build.metadata?.deletionTimestamp === undefined &&
  build.status?.startTime === undefined &&
  build.status?.completionTime === undefined &&
  build.spec.cancelled !== true &&
  (build.spec.trigger ?? 'Now') === 'Now'

/** Whether it waits for its template: what nobody knows how to build needs no turn, and takes nobody else's. */
export function lacksTemplate(build: Build, { templates }: Pick<View, 'templates'>): boolean {
  const key = templateKey(build)
  return key !== undefined && !templates.has(key) && build.status?.startTime === undefined
}

/** Whether it takes a place: from the moment its turn came until it ended. */
export const isStarted = (build: Build): boolean =>
  build.status?.startTime !== undefined && build.status.completionTime === undefined

/**
 * What is to be done for one Build, from what is there now. `turn`: the queue says that it may start, or why not yet.
 */
export function planBuild(build: Build, view: View, turn: true | string, now: Date): Planned {
  const { metadata, status } = build
  const jobs = ownJobs(build, view)
  if (metadata?.deletionTimestamp !== undefined) return cleaned(build, view, jobs)
  if (status?.completionTime !== undefined) return over(build, view, jobs, now)
  if (build.spec.cancelled === true) {
    const { pod, outcome } = lastPod(podsOf(build, view))
    return ended(
      build,
      { phase: 'Cancelled', reason: reasons.cancelled, message: 'it was cancelled', pod, outcome },
      now,
    )
  }
  if (lacksTemplate(build, view)) {
    const { kind = 'BuildTemplate', name } = build.spec.template ?? {}
    const message = `waits for ${kind} ${name}, which does not exist`
    return waits(build, reasons.templateMissing, message, now)
  }
  let recipe: Recipe
  try {
    recipe = recipeNow(build, view.templates)
  } catch (error) {
    return ended(build, { phase: 'Failed', reason: reasons.invalid, message: describeError(error) }, now)
  }
  if (status?.startTime === undefined) return queued(build, recipe, turn, now)
  const planned = running(build, recipe, view, now)
  return { ...planned, actions: [...formerJobs(build, view), ...planned.actions] }
}

const podsOf = (build: Build, view: View, attempt = build.status?.attempt ?? 1): readonly PodView[] =>
  view.pods.get(`${build.metadata?.namespace}/${jobName(build, attempt)}`) ?? []

const ownJobs = (build: Build, view: View): { build: JobView | undefined; clean: JobView | undefined } => {
  const at = (name: string) => view.jobs.get(`${build.metadata?.namespace}/${name}`)
  return { build: at(jobName(build, build.status?.attempt ?? 1)), clean: at(cleanJobName(build)) }
}

/** The status, where it differs from what is there. */
const write = (build: Build, status: BuildStatus, event?: (Action & { kind: 'status' })['event']): Action[] =>
  sameStatus(build.status, status) ? [] : [{ kind: 'status', build, status, event }]

function waits(build: Build, reason: string, message: string, now: Date): Planned {
  const says = {
    Scheduled: { status: 'False', reason, message },
    Succeeded: { status: 'Unknown', reason, message },
  } as const
  return { actions: write(build, withConditions(build, says, now, { phase: 'Queued', message })) }
}

function queued(build: Build, recipe: Recipe, turn: true | string, now: Date): Planned {
  if (turn !== true) return waits(build, reasons.queued, turn, now)
  const cleans = recipe.workspace !== undefined && recipe.cleanUp?.workspace !== 'Never'
  // Before anything is written to the claim it must be sure that it will be cleaned.
  if (cleans && !build.metadata?.finalizers?.includes(workspaceFinalizer)) {
    return { actions: [{ kind: 'finalizer', build, present: true }] }
  }
  // From here on admission lets nobody change the spec, so that the Job is what the object says.
  const says = {
    Scheduled: { status: 'True', reason: 'Started', message: 'its turn came' },
    Running: { status: 'False', reason: 'Starting' },
    Succeeded: { status: 'Unknown', reason: reasons.running },
  } as const
  // What becomes of its template later must not end it, nor let what it left on a claim be forgotten.
  const fromTemplate = broughtBy(build, recipe)
  const begins = { attempt: 1, startTime: timeText(now), ...(fromTemplate && { fromTemplate }) }
  const fields = { phase: 'Starting', ...begins, message: undefined } as const
  const event = { type: 'Normal', reason: 'Started', message: 'its turn came' } as const
  return { actions: write(build, withConditions(build, says, now, fields), event) }
}

function running(build: Build, recipe: Recipe, view: View, now: Date): Planned {
  const { namespace } = build.metadata ?? {}
  const attempt = build.status?.attempt ?? 1
  const name = jobName(build, attempt)
  const job = view.jobs.get(`${namespace}/${name}`)
  const pods = podsOf(build, view)
  const timeout = seconds(recipe.timeout ?? defaults.timeout, 'timeout')
  const left = Date.parse(build.status?.startTime ?? '') / 1000 + timeout - now.getTime() / 1000
  if (job === undefined) {
    if (build.status?.job === name) {
      const message = `Job ${name} was deleted before it ended`
      const otherwise = ended(build, { phase: 'Failed', reason: reasons.jobDeleted, message }, now).actions
      return { actions: [{ kind: 'unlessJob', build, job: name, otherwise }], again: 2 }
    }
    if (left <= 0) return ended(build, timedOut(timeout), now)
    return { actions: [{ kind: 'createJob', build, recipe, attempt, deadline: left }], again: 10 }
  }
  const goesOn = job.state === 'active' && !keptByOthers(pods, recipe)
  if (goesOn && left <= -grace) return ended(build, timedOut(timeout), now)
  const end = goesOn ? undefined : endOf({ job, pods, build, recipe, now })
  if (end === 'later') return { actions: [], again: 2 }
  if (end?.infrastructure === true) {
    const retries = recipe.retries ?? defaults.retries
    if (attempt <= retries && left > 0) return again(build, attempt, end, now)
  }
  if (end) return ended(build, end, now)
  const status = progress(build, name, pods, now)
  if (pods.length > 0) return { actions: write(build, status), again: Math.max(1, left + grace) }
  const patience = job.createdAt / 1000 + podComesIn - now.getTime() / 1000
  if (patience > 0) return { actions: write(build, status), again: patience }
  return { actions: [{ kind: 'explainNoPod', build, job: name, status }], again: podComesIn }
}

/** Seconds after which a Job without a pod is asked why; usually it takes less than one. */
const podComesIn = 10

/** Seconds after the deadline in which Kubernetes ends a Job by itself. */
const grace = 60

const timedOut = (timeout: number): End => ({
  phase: 'Failed',
  reason: reasons.timeout,
  message: `it took longer than its timeout of ${timeout} s`,
})

function again(build: Build, attempt: number, end: End, now: Date): Planned {
  const { message } = end
  const says = { Running: { status: 'False', reason: 'Retrying', message } } as const
  const former = [...(build.status?.former ?? []), formerAttempt(build, attempt, end, now)].slice(-16)
  const begins = { attempt: attempt + 1, job: undefined, pod: undefined, node: undefined, message, former }
  const fields = { phase: 'Starting', ...begins } as const
  const event = { type: 'Warning', reason: 'Retrying', message: `attempt ${attempt} was lost: ${message}` } as const
  return { actions: write(build, withConditions(build, says, now, fields), event) }
}

/** Jobs of attempts that were given up. */
function formerJobs(build: Build, view: View): Action[] {
  const attempts = Array.from({ length: (build.status?.attempt ?? 1) - 1 }, (_, i) => i + 1)
  return attempts.flatMap((attempt): Action[] => {
    const job = view.jobs.get(`${build.metadata?.namespace}/${jobName(build, attempt)}`)
    return job === undefined || job.deleting ? [] : [{ kind: 'deleteJob', build, name: job.name }]
  })
}

function progress(build: Build, job: string, pods: readonly PodView[], now: Date): BuildStatus {
  const pod = pods.find(({ deleting }) => !deleting) ?? pods[0]
  const runs = pod?.live === true
  const message = runs ? undefined : pod?.waiting
  const says = {
    Scheduled: { status: 'True', reason: 'JobCreated', message: `Job ${job}` },
    Running: { status: runs ? 'True' : 'False', reason: runs ? 'PodRunning' : 'PodPending', message },
    Succeeded: { status: 'Unknown', reason: reasons.running },
  } as const
  const fields = { phase: runs ? 'Running' : 'Starting', job, pod: pod?.name, message } as const
  // What is pushed is said while steps after the build still run: the pod may not live to its end.
  return withConditions(build, says, now, { ...fields, ...knownOf(lastPod(pods).outcome, build) })
}

/** Written once; after it the Build never runs again. */
function ended(build: Build, end: End, now: Date): Planned {
  const { phase, reason, message, outcome } = end
  const says = {
    Running: { status: 'False', reason },
    Succeeded: { status: phase === 'Succeeded' ? 'True' : 'False', reason, message },
  } as const
  const status = withConditions(build, says, now, {
    phase,
    completionTime: timeText(now),
    message: phase === 'Succeeded' ? undefined : message,
    ...(end.pod === undefined ? {} : { pod: end.pod }),
    ...knownOf(outcome, build),
  })
  const type = phase === 'Succeeded' ? 'Normal' : 'Warning'
  return { actions: write(build, status, { type, reason, message: message.slice(-900) }) }
}

/** What stays after the end, and for how long. */
function over(build: Build, view: View, jobs: ReturnType<typeof ownJobs>, now: Date): Planned {
  const { status } = build
  const age = now.getTime() / 1000 - Date.parse(status?.completionTime ?? '') / 1000
  const recipe = lastRecipe(build, view.templates)
  const asked = build.status?.phase === 'Succeeded' || status?.phase === 'Failed'
  const timeout = reasonOf(build) === reasons.timeout
  const keep = asked && !timeout ? seconds(recipe.cleanUp?.pod ?? defaults.keepPod, 'cleanUp.pod') : 0
  // A pod that is being ended says what it pushed after the end was written.
  const { outcome } = lastPod(podsOf(build, view))
  const late = outcome === undefined ? [] : write(build, { ...status, ...knownOf(outcome, build) })
  const actions: Action[] = [...late, ...formerJobs(build, view)]
  let next: number | undefined
  if (jobs.build && !jobs.build.deleting) {
    if (age >= keep || jobs.build.state === 'active') {
      actions.push({ kind: 'deleteJob', build, name: jobs.build.name })
    } else next = keep - age
  }
  actions.push(...cleaned(build, view, jobs).actions)
  const stay = recipe.cleanUp?.build
  if (stay !== undefined && actions.length === 0) {
    const left = seconds(stay, 'cleanUp.build') - age
    if (left <= 0) actions.push({ kind: 'deleteBuild', build, why: `it ended ${stay} ago` })
    else next = Math.min(next ?? left, left)
  }
  return { actions, again: next }
}

const reasonOf = (build: Build): string | undefined =>
  build.status?.conditions?.find(({ type }) => type === 'Succeeded')?.reason

/** The workspace directory is removed once no pod uses it; then the Build may go. Without a claim there is nothing to do. */
function cleaned(build: Build, view: View, jobs: ReturnType<typeof ownJobs>): Planned {
  if (!build.metadata?.finalizers?.includes(workspaceFinalizer)) {
    // The finalizer goes first: without it nobody takes the missing Job for one that has still to be made.
    return jobs.clean && !jobs.clean.deleting
      ? { actions: [{ kind: 'deleteJob', build, name: jobs.clean.name }] }
      : nothing
  }
  const done: Action = { kind: 'finalizer', build, present: false }
  const recipe = lastRecipe(build, view.templates)
  const when = recipe.cleanUp?.workspace ?? 'Always'
  if (recipe.workspace === undefined || when === 'Never') return { actions: [done] }
  if (when === 'OnSuccess' && build.status?.phase !== 'Succeeded') return { actions: [done] }
  if (jobs.build && jobs.build.state === 'active' && !jobs.build.deleting) {
    return { actions: [{ kind: 'deleteJob', build, name: jobs.build.name }] }
  }
  const attempts = Array.from({ length: build.status?.attempt ?? 1 }, (_, i) => i + 1)
  const pods = attempts.flatMap((attempt) => podsOf(build, view, attempt))
  if (pods.some(({ phase }) => phase === 'Running' || phase === 'Pending')) return { actions: [], again: 5 }
  if (jobs.clean === undefined) return { actions: [{ kind: 'createCleanJob', build, recipe }] }
  if (jobs.clean.state === 'active') return nothing
  return { actions: [jobs.clean.state === 'failed' ? { ...done, event: notCleaned(build, view) } : done] }
}
