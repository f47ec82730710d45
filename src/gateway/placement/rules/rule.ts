import type { ClusterView, Subject } from '../cluster.ts'
import { cannotBuild, type Rejection } from '../fitness.ts'
import type { NodeSlot } from '../facts.ts'
import type { Placement, PlacementRequest } from '../placer.ts'
import type { Pool } from '../pool.ts'
import { rank, type Field, type Ranking } from '../score.ts'

/** Everything a rule may look at. */
export interface RuleInput {
  readonly view: ClusterView
  readonly request: PlacementRequest
  /** What `request.workload` names. */
  readonly subject: Subject | undefined
  /** Repository of a normalised image name. */
  readonly repositoryOf: (image: string) => string
  /** Who can build for the requested platforms. */
  readonly pool: Pool
  /** Why an earlier rule that knew where the image will run found no builder there: a clause for people. */
  readonly unable?: string | undefined
}

/** What a rule says: a placement, or targets that cannot build for themselves, or nothing (undefined). */
export interface Verdict {
  readonly placement?: Placement
  /** Nodes that will run the image although none of them can build it; a later rule finds the builder. */
  readonly targets?: readonly string[]
  /** Nodes that this rule looked at and would not have taken. Worked out when asked for. */
  readonly rejected: () => readonly Rejection[]
  /** The candidates, where there was a choice. */
  readonly ranking?: Ranking
}

export type Rule = (input: RuleInput) => Verdict | undefined

export const none = (): readonly Rejection[] => []

/** Why these nodes cannot build; those that can are left out. */
export function unable({ view, request }: RuleInput, names: Iterable<string>): Rejection[] {
  const rejected: Rejection[] = []
  for (const name of names) {
    const rejection = cannotBuild(view, name, request.platforms, request)
    if (rejection) rejected.push(rejection)
  }
  return rejected
}

/** The tie-break all rules share: native, warm cache, load. */
export const best = ({ view, request, pool }: RuleInput, field: Field): Ranking => rank(view, pool, request, field)

/** Whether a build would start there at once. */
export const hasRoom = ({ view, request }: RuleInput, slot: NodeSlot): boolean =>
  (view.busy.get(slot.name) ?? 0) < (request.perNode ?? Infinity)

export const nodesOf = (slots: Iterable<NodeSlot>): string[] => Array.from(slots, (slot) => slot.name)
