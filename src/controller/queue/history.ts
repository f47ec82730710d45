import type { Build } from '../../api/builds/builds.ts'
import type { Action } from '../build/actions.ts'
import { templateKey } from '../build/recipe.ts'
import type { View } from '../view.ts'

/** Ended Builds of a template beyond what its history keeps, oldest first, per namespace and result. */
export function beyondHistory(view: View): Action[] {
  const groups = new Map<string, Build[]>()
  for (const build of view.builds) {
    const key = templateKey(build)
    if (key === undefined || build.status?.completionTime === undefined || build.metadata?.deletionTimestamp) continue
    const result = build.status.phase === 'Succeeded' ? 'succeeded' : 'failed'
    const group = JSON.stringify([key, build.metadata?.namespace, result])
    groups.set(group, [...(groups.get(group) ?? []), build])
  }
  return [...groups].flatMap(([group, builds]) => {
    const [key, , result] = JSON.parse(group) as [string, string, 'succeeded' | 'failed']
    const keep = view.templates.get(key)?.spec.history?.[result]
    if (keep === undefined || builds.length <= keep) return []
    const oldest = builds.toSorted((a, b) => (endTime(a) < endTime(b) ? -1 : endTime(a) > endTime(b) ? 1 : 0))
    return oldest
      .slice(0, builds.length - keep)
      .map((build): Action => ({ kind: 'deleteBuild', build, why: `its template keeps ${keep} ${result} ones` }))
  })
}

const endTime = (build: Build): string =>
  `${build.status?.completionTime} ${build.metadata?.creationTimestamp} ${build.metadata?.name}`
