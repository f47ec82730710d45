import type { Build, BuildStatus, Recipe } from '../../api/builds/builds.ts'
import {
  badRevision,
  coversPlatform,
  type Demand,
  demandsOf,
  matchName,
  namesOf,
  onPullDefaults,
  type Pull,
  retryAfter,
} from '../../api/builds/on-pull.ts'
import type { Action } from '../build/actions.ts'
import type { Planned } from '../build/plan.ts'
import { buildOfPull, type Made } from './made.ts'

/** A demand that nobody held a pull for any more has no more meaning: those that do write it again. Milliseconds. */
const staleAfter = 600_000

export interface PullInputs {
  readonly recipe: Recipe
  readonly pulls: NonNullable<BuildStatus['pulls']>
  /** What pulls of this Build began, oldest first. */
  readonly made: readonly Made[]
  readonly now: Date
}

/** What is to be done about the pulls of a Build: begin builds, answer demands, let go of the oldest that have ended. */
export function planPulls(build: Build, inputs: PullInputs): Planned {
  const { made, pulls } = inputs
  const { atOnce = onPullDefaults.atOnce, keep = onPullDefaults.keep } = build.spec.onPull ?? {}
  const answered: string[] = []
  const begun: Action[] = []
  let waits = false
  let free = atOnce - made.filter(({ ended }) => ended === undefined).length
  for (const [revision, demands] of byRevision(build, pulls.names, answered)) {
    const said = decide(build, revision, demands, inputs)
    if (said === 'answered') answered.push(...demands.map(({ key }) => key))
    else if (said === 'later' || free <= 0) waits = true
    else {
      begun.push({ kind: 'createBuild', build, made: said })
      free -= 1
    }
  }
  const over = made.filter(({ ended }) => ended !== undefined)
  const excess = over
    .slice(0, Math.max(0, over.length - keep))
    .map((one): Action => ({ kind: 'deleteBuild', build: one.build, why: `${keep} that pulls began are kept` }))
  const forget: Action[] = answered.length === 0 ? [] : [{ kind: 'forget', build, annotations: answered }]
  return { actions: [...begun, ...forget, ...excess], again: waits || begun.length > 0 ? 5 : undefined }
}

interface Keyed extends Demand {
  readonly key: string
}

/**
 * Demands by the revision they are for: one build gives all names. What cannot be read, or be built, is answered by taking it
 * away.
 */
function byRevision(build: Build, names: readonly string[], answered: string[]): Map<string | undefined, Keyed[]> {
  const found = new Map<string | undefined, Keyed[]>()
  const mode = build.spec.onPull?.revisions
  for (const [key, demand] of demandsOf(build.metadata?.annotations)) {
    const match = demand && matchName(names, demand.name)
    const isBad = match?.revision !== undefined && badRevision(match.revision, mode) !== undefined
    if (demand === undefined || match === undefined || isBad) answered.push(key)
    else found.set(match.revision, [...(found.get(match.revision) ?? []), { ...demand, key }])
  }
  return found
}

function decide(
  build: Build,
  revision: string | undefined,
  demands: readonly Keyed[],
  { recipe, pulls, made, now }: PullInputs,
): 'answered' | 'later' | Build {
  const names = namesOf(pulls.names, revision)
  const same = made.filter(({ pull }) => pull.names.some((one) => names.includes(one)))
  const active = same.find(({ ended }) => ended === undefined)
  if (active) return demands.every((one) => serves(active.pull, one)) ? 'answered' : 'later'
  const last = same.at(-1)
  const generation = build.metadata?.generation ?? 0
  const failed = last?.build.status?.phase === 'Succeeded' ? undefined : last
  const again = failed?.pull.generation === generation ? failed : undefined
  const failures = again === undefined ? 0 : again.pull.failures + 1
  if (again && now.getTime() < (again.ended ?? 0) + retryAfter(failures) * 1000) return 'answered'
  const open = demands.filter(
    (one) =>
      now.getTime() - Date.parse(one.at) <= staleAfter &&
      !(last && !failed && Date.parse(one.at) < (last.ended ?? 0) && serves(last.pull, one)),
  )
  const here = open.find(({ elsewhere }) => elsewhere === undefined)
  const first = here ?? open[0]
  if (first === undefined) return 'answered'
  const { name, asked, elsewhere } = first
  const serving = same.findLast((one) => one.build.status?.phase === 'Succeeded')
  const platforms = recipe.platforms ?? platformsOf(open, serving)
  const who = { name, names, asked, ...(elsewhere === undefined ? {} : { elsewhere }) }
  return buildOfPull(build, {
    ...{ recipe, pull: { ...who, platforms, generation, failures }, revision, before: last?.build },
    // Several platforms are built where each is native; who says a node or a workload is not overruled.
    node: recipe.node ?? (recipe.for === undefined && platforms.length <= 1 ? here?.asked : undefined),
  })
}

const serves = ({ names, platforms }: Pull, { name, platform }: Demand): boolean =>
  names.includes(name) && coversPlatform(platforms, platform)

/** Those of the nodes that ask, and those of the image that the name stands for now, which it still has to serve. */
const platformsOf = (demands: readonly Demand[], serving: Made | undefined): readonly string[] => [
  ...new Set([...(serving?.pull.platforms ?? []), ...demands.flatMap(({ platform }) => platform ?? [])]),
]
