import type { Build } from '../../api/builds/builds.ts'
import { isRebuild, originOf } from './lineage.ts'

/**
 * Ended rebuilds beyond the newest `keep` of each Build that somebody wrote. Never one that somebody wrote, and never
 * the newest that succeeded: it says what the image is built on.
 */
export function beyondKept(builds: readonly Build[], keep: number): Build[] {
  const groups = new Map<string, Build[]>()
  for (const build of builds) {
    if (!isRebuild(build) || build.metadata?.deletionTimestamp || build.status?.completionTime === undefined) continue
    const key = `${build.metadata?.namespace}/${originOf(build)}`
    groups.set(key, [...(groups.get(key) ?? []), build])
  }
  return [...groups.values()].flatMap((group) => {
    const newest = group.toSorted((a, b) => (age(a) < age(b) ? 1 : -1))
    const stands = newest.find(({ status }) => status?.phase === 'Succeeded')
    return newest.slice(keep).filter((build) => build !== stands)
  })
}

const age = ({ metadata }: Build): string => `${metadata?.creationTimestamp} ${metadata?.name}`
