import type { Action } from './build/actions.ts'
import { lacksTemplate, planBuild } from './build/plan.ts'
import { lostPods } from './build/lost-pods.ts'
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
}

/** Everything that is to be done now, from everything that is there now. */
export function plan(view: View, limits: Limits, now: Date): Plan {
  const ready = view.builds.filter((build) => !lacksTemplate(build, view))
  const order = turns(ready, view.buildNodes, limits)
  const made = madeByPulls(view.builds)
  const planned = view.builds.map((build) => {
    if (isStanding(build)) return planStanding(build, view, made.get(build.metadata?.uid ?? '') ?? [], now)
    const turn = order.get(build.metadata?.uid ?? '') ?? 'waits'
    return planBuild(build, view, turn, now)
  })
  const work = planned.map(({ actions }) => actions).filter((actions) => actions.length > 0)
  const lost = lostPods(view, now)
  const others = [...beyondHistory(view), ...lost.actions]
  return {
    work: [...work, ...others.map((action) => [action])],
    again: Math.max(1, Math.min(60, lost.again, ...planned.flatMap((one) => one.again ?? []))),
  }
}
