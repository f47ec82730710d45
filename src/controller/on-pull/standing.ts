import type { Build, BuildStatus, Recipe } from '../../api/builds/builds.ts'
import { gist, refusedAnnotation, unservedAnnotation } from '../../api/builds/on-pull.ts'
import { reasons } from '../../api/builds/status.ts'
import { describeError } from '../../kernel/errors.ts'
import type { Action, BuildEvent } from '../build/actions.ts'
import type { Planned } from '../build/plan.ts'
import { recipeOf, templateKey } from '../build/recipe.ts'
import { sameStatus, withConditions } from '../build/status.ts'
import type { View } from '../view.ts'
import { type Claims, pullsOf, takenBy } from './claims.ts'
import type { Made } from './made.ts'
import { planPulls } from './plan.ts'

export const isStanding = ({ spec }: Build): boolean => spec.trigger === 'OnPull'

export interface StandingInputs {
  readonly templates: View['templates']
  /** What all Builds claim. */
  readonly claims: Claims
  /** What pulls of this Build began, oldest first. */
  readonly made: readonly Made[]
  readonly now: Date
}

/** What is to be done for a Build that waits for pulls. It never starts itself, so its spec may always change. */
export function planStanding(build: Build, { templates, claims, made, now }: StandingInputs): Planned {
  // What it owns goes with it.
  if (build.metadata?.deletionTimestamp !== undefined) return { actions: [] }
  if (build.spec.cancelled === true) {
    const status = state(build, undefined, made, refused(reasons.cancelled, 'it was cancelled'), now)
    const going = made.filter(({ ended }) => ended === undefined)
    const ends = going.map((one): Action => ({
      kind: 'deleteBuild',
      build: one.build,
      why: 'what it was of is cancelled',
    }))
    return { actions: [...write(build, { ...status, phase: 'Cancelled' }), ...ends] }
  }
  const read = readClaim(build, templates)
  if ('refusal' in read) {
    const message = read.refusal.message
    return { actions: write(build, { ...state(build, undefined, made, read.refusal, now), message }) }
  }
  const { recipe, pulls } = read
  const status = state(build, pulls, made, accepted(build, pulls.names, claims), now)
  const planned = planPulls(build, { recipe, pulls, made, now })
  return { ...planned, actions: [...write(build, status, eventOf(build, status, made)), ...planned.actions] }
}

interface Accepted {
  readonly status: 'True' | 'False'
  readonly reason: string
  readonly message: string
}

const refused = (reason: string, message: string): Accepted => ({ status: 'False', reason, message })

function readClaim(
  build: Build,
  templates: View['templates'],
): { readonly recipe: Recipe; readonly pulls: ReturnType<typeof pullsOf> } | { readonly refusal: Accepted } {
  const key = templateKey(build)
  const template = key === undefined ? undefined : templates.get(key)
  if (key !== undefined && template === undefined) {
    const { kind = 'BuildTemplate', name } = build.spec.template ?? {}
    return { refusal: refused(reasons.templateMissing, `waits for ${kind} ${name}, which does not exist`) }
  }
  try {
    const recipe = recipeOf(build, template)
    return { recipe, pulls: pullsOf(recipe) }
  } catch (error) {
    return { refusal: refused(reasons.invalid, describeError(error)) }
  }
}

function accepted(build: Build, names: readonly string[], claims: Claims): Accepted {
  const said = build.metadata?.annotations?.[refusedAnnotation]
  if (said !== undefined) return refused(reasons.notAllowed, said.slice(0, 1000))
  const other = takenBy(build, names, claims)
  if (!other) {
    const unserved = build.metadata?.annotations?.[unservedAnnotation]
    if (unserved !== undefined) return { status: 'True', reason: reasons.notServed, message: unserved.slice(0, 1000) }
    return { status: 'True', reason: reasons.accepted, message: names.join(', ').slice(0, 1000) }
  }
  const { namespace, name } = other.metadata ?? {}
  return refused(reasons.nameTaken, `the older Build ${namespace}/${name} has a name of this one: pulls of it go there`)
}

/** The status of the Build that a pull began last, and what holds of the names. */
function state(
  build: Build,
  pulls: ReturnType<typeof pullsOf> | undefined,
  made: readonly Made[],
  names: Accepted,
  now: Date,
): BuildStatus {
  const last = made.at(-1)?.build
  const waiting = { reason: reasons.waitingForPull, message: 'waits until one of its names is pulled' }
  const of = (type: string) => last?.status?.conditions?.find((one) => one.type === type)
  const says = {
    Scheduled: of('Scheduled') ?? { status: 'False', ...waiting },
    Running: of('Running') ?? { status: 'False', ...waiting },
    Succeeded: of('Succeeded') ?? { status: 'Unknown', ...waiting },
    Accepted: names,
  } as const
  const { phase, job, pod, node, platform, digest, names: built, commit, message } = last?.status ?? {}
  const begun = last === undefined ? 'WaitingForPull' : (phase ?? 'Queued')
  const status = withConditions(build, says, now, {
    ...{ phase: begun, job, pod, node, platform, digest, names: built, commit, message },
    pulls: pulls && { ...pulls, ...(last?.metadata?.name === undefined ? {} : { last: last.metadata.name }) },
  })
  return Object.fromEntries(Object.entries(status).filter(([, value]) => value !== undefined))
}

const write = (build: Build, status: BuildStatus, event?: BuildEvent): Action[] =>
  sameStatus(build.status, status) ? [] : [{ kind: 'status', build, status, event }]

/** Told once each: which pull began a build, and that it has failed. */
function eventOf(build: Build, status: BuildStatus, made: readonly Made[]): BuildEvent | undefined {
  const last = made.at(-1)
  const condition = status.conditions?.find(({ type }) => type === 'Accepted')
  const before = build.status?.conditions?.find(({ type }) => type === 'Accepted')
  const warning = condition?.reason === reasons.notServed || (last === undefined && condition?.status === 'False')
  if (condition && warning && before?.reason !== condition.reason) {
    return { type: 'Warning', reason: condition.reason, message: condition.message ?? '' }
  }
  if (last === undefined) return undefined
  const { name } = last.build.metadata ?? {}
  const { pull } = last
  if (status.phase === 'Failed' && build.status?.phase !== 'Failed') {
    const why = gist(status.message ?? '')
    return { type: 'Warning', reason: reasons.failed, message: `Build ${name} of ${pull.name}: ${why}` }
  }
  if (build.status?.pulls?.last === name) return undefined
  const where = pull.elsewhere === undefined ? '' : `; not there, because that ${pull.elsewhere}`
  const message = `node ${pull.asked} pulls ${pull.name}: Build ${name} builds it${where}`
  return { type: 'Normal', reason: 'Pulled', message }
}
