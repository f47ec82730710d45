import type { Build, BuildStatus } from '../../api/builds/builds.ts'
import { reasons } from '../../api/builds/status.ts'
import type { InsituError } from '../../kernel/errors.ts'
import type { BuildEvent } from './actions.ts'
import { timeText, withConditions } from './status.ts'

/** It has ended: no Job can be made of what the author wrote. */
export const invalid = (build: Build, message: string, now: Date): BuildStatus =>
  withConditions(
    build,
    {
      Running: { status: 'False', reason: reasons.invalid },
      Succeeded: { status: 'False', reason: reasons.invalid, message },
    },
    now,
    { phase: 'Failed', completionTime: timeText(now), message },
  )

/** It waits: once there is a CA, the next look makes its Job and says that it is scheduled. */
export function withoutCa(
  build: Build,
  { message, fix }: InsituError,
  now: Date,
): { status: BuildStatus; event: BuildEvent } {
  const says = { status: 'False', reason: reasons.caMissing, message: `waits: ${message} (${fix})` } as const
  const status = withConditions(build, { Scheduled: says }, now, { message: says.message })
  return { status, event: { type: 'Warning', reason: says.reason, message: says.message } }
}

/** Of the Job controller, when it could not make a pod. */
export interface PodRefusal {
  readonly message?: string
  readonly lastTimestamp?: string | null
}

/** It stays in its phase: a quota may become free, and then the pod comes. */
export function withoutPod(
  build: Build,
  { job, refusals }: { readonly job: string; readonly refusals: readonly PodRefusal[] },
  now: Date,
): BuildStatus {
  const time = ({ lastTimestamp }: PodRefusal): string => lastTimestamp ?? ''
  const last = refusals.toSorted((a, b) => (time(a) < time(b) ? 1 : -1))[0]
  // Every try has a pod of another name: what says the same is not written again.
  const why = last?.message?.replace(/^Error creating: (pods? "[^"]*" is )?/i, '')
  const message = why
    ? `Job ${job} gets no pod: ${why}`
    : `Job ${job} has no pod yet: kubectl -n ${build.metadata?.namespace} describe job ${job} says why`
  const reason = why ? 'PodRefused' : 'PodPending'
  return withConditions(build, { Running: { status: 'False', reason, message } }, now, { message })
}
