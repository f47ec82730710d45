import type { ClusterView, Subject } from '../cluster.ts'
import { cannotBuild, type Rejection } from '../fitness.ts'
import type { Placement, PlacementRequest } from '../placer.ts'
import { candidate, type Pools } from '../pool.ts'
import { rank, type Ranking } from '../score.ts'

/** Everything a rule may look at. */
export interface RuleInput {
  readonly view: ClusterView
  readonly request: PlacementRequest
  /** What `request.workload` names. */
  readonly subject: Subject | undefined
  /** Repository of a normalised image name. */
  readonly repositoryOf: (image: string) => string
  /** The nodes any build may go to. */
  readonly pools: Pools
  /** Why an earlier rule that knew where the image will run found no builder there: a clause for people. */
  readonly unable?: string | undefined
}

/** What a rule says: a placement, or targets that cannot build for themselves, or nothing (undefined). */
export interface Verdict {
  readonly placement?: Placement
  /** Nodes that will run the image although none of them can build it; a later rule finds the builder. */
  readonly targets?: readonly string[]
  /** Nodes that this rule would have taken. */
  readonly rejected: readonly Rejection[]
  /** The candidates, where there was a choice. */
  readonly ranking?: Ranking
}

export type Rule = (input: RuleInput) => Verdict | undefined

/** Splits nodes into those that can build and reasons why the others cannot. Keeps the order. */
export function able(input: RuleInput, names: Iterable<string>): { nodes: string[]; rejected: Rejection[] } {
  const nodes: string[] = []
  const rejected: Rejection[] = []
  for (const name of names) {
    const rejection = cannotBuild(input.view, name, input.request.platforms)
    if (rejection) rejected.push(rejection)
    else nodes.push(name)
  }
  return { nodes, rejected }
}

/** The tie-break all rules share: native, warm cache, load. */
export function best(input: RuleInput, names: readonly string[]): Ranking {
  const { view, request } = input
  const candidates = names.map((node) => candidate(view, node, request.platforms))
  return rank(candidates, request.cacheKey, view)
}
