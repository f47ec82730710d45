import type { Build, BuildStatus, Recipe } from '../../api/builds/builds.ts'
import {
  badRevision,
  coversPlatform,
  type Demand,
  demandsOf,
  matchName,
  onPullDefaults,
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
  const { made } = inputs
  const { atOnce = onPullDefaults.atOnce, keep = onPullDefaults.keep } = build.spec.onPull ?? {}
  const answered: string[] = []
  const begun: Action[] = []
  let waits = false
  let free = atOnce - made.filter(({ ended }) => ended === undefined).length
  for (const [name, demands] of byName(build, answered)) {
    const said = decide(build, name, demands, inputs)
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

/** Demands by the name they are for; what cannot be read is answered by taking it away. */
function byName(build: Build, answered: string[]): Map<string, Keyed[]> {
  const found = new Map<string, Keyed[]>()
  for (const [key, demand] of demandsOf(build.metadata?.annotations)) {
    if (demand === undefined) answered.push(key)
    else found.set(demand.name, [...(found.get(demand.name) ?? []), { ...demand, key }])
  }
  return found
}

function decide(
  build: Build,
  name: string,
  demands: readonly Keyed[],
  { recipe, pulls, made, now }: PullInputs,
): 'answered' | 'later' | Build {
  const match = matchName(pulls.names, name)
  const mode = build.spec.onPull?.revisions
  if (match === undefined) return 'answered'
  if (match.revision !== undefined && badRevision(match.revision, mode) !== undefined) return 'answered'
  const same = made.filter(({ pull }) => pull.name === name)
  const active = same.find(({ ended }) => ended === undefined)
  const wanted = demands.map(({ platform }) => platform)
  if (active) return wanted.every((one) => coversPlatform(active.pull.platforms, one)) ? 'answered' : 'later'
  const last = same.at(-1)
  const generation = build.metadata?.generation ?? 0
  const failed = last?.build.status?.phase === 'Succeeded' ? undefined : last
  const again = failed?.pull.generation === generation ? failed : undefined
  const failures = again === undefined ? 0 : again.pull.failures + 1
  if (again && now.getTime() < (again.ended ?? 0) + retryAfter(failures) * 1000) return 'answered'
  const open = demands.filter(
    ({ at, platform }) =>
      now.getTime() - Date.parse(at) <= staleAfter &&
      !(last && !failed && Date.parse(at) < (last.ended ?? 0) && coversPlatform(last.pull.platforms, platform)),
  )
  if (open.length === 0) return 'answered'
  const platforms = recipe.platforms ?? platformsOf(open, failed ? undefined : last)
  const here = open.find(({ elsewhere }) => elsewhere === undefined)
  const { asked = '', elsewhere } = here ?? open[0] ?? {}
  const pull = { name, platforms, generation, failures, asked, ...(elsewhere === undefined ? {} : { elsewhere }) }
  return buildOfPull(build, {
    ...{ recipe, pull, revision: match.revision, before: last?.build },
    // Several platforms are built where each is native; who says a node or a workload is not overruled.
    node: recipe.node ?? (recipe.for === undefined && platforms.length <= 1 ? here?.asked : undefined),
  })
}

/** Those of the nodes that ask, and those that it was built for before, which still have to be served by the name. */
const platformsOf = (demands: readonly Demand[], last: Made | undefined): readonly string[] => [
  ...new Set([...(last?.pull.platforms ?? []), ...demands.flatMap(({ platform }) => platform ?? [])]),
]
