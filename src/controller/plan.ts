import type { Build } from '../api/builds/builds.ts'
import type { Action } from './build/actions.ts'
import { lacksTemplate, type Planned, planBuild } from './build/plan.ts'
import { lostPods } from './build/lost-pods.ts'
import { claimsOf } from './on-pull/claims.ts'
import { madeByPulls } from './on-pull/made.ts'
import { isStanding, planStanding } from './on-pull/standing.ts'
import { beyondHistory } from './queue/history.ts'
import { type Limits, turns } from './queue/turns.ts'
import type { View } from './view.ts'

export interface Plan {
  /** Those of one Build in order, Builds beside each other. */
  readonly work: readonly (readonly Action[])[]
  /** Seconds until the next look although nothing happens. */
  readonly again: number
  /** Builds for which nothing could be planned, which is a fault in this program. */
  readonly failures: readonly { readonly build: Build; readonly error: unknown }[]
}

/** Everything that is to be done now, from everything that is there now. */
export function plan(view: View, limits: Limits, now: Date): Plan {
  const ready = view.builds.filter((build) => !lacksTemplate(build, view))
  const order = turns(ready, view.buildNodes, limits)
  const made = madeByPulls(view.builds)
  const claims = claimsOf(view.builds)
  const planOne = (build: Build): Planned => {
    const { uid = '' } = build.metadata ?? {}
    if (isStanding(build)) {
      return planStanding(build, { templates: view.templates, claims, made: made.get(uid) ?? [], now })
    }
    return planBuild(build, view, order.get(uid) ?? 'waits', now)
  }
  const failures: { build: Build; error: unknown }[] = []
  const planned = view.builds.flatMap((build) => {
    try {
      return [planOne(build)]
    } catch (error) {
      // Nobody else's Builds stand still because of one.
      failures.push({ build, error })
      return []
    }
  })
  const work = planned.map(({ actions }) => actions).filter((actions) => actions.length > 0)
  const lost = lostPods(view, now)
  const others = [...beyondHistory(view), ...lost.actions]
  return {
    work: [...work, ...others.map((action) => [action])],
    again: Math.max(1, Math.min(60, lost.again, ...planned.flatMap((one) => one.again ?? []))),
    failures,
  }
}
