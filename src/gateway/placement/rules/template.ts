import type { ClusterView, WorkloadFacts } from '../cluster.ts'
import { unwelcoming, type Rejection } from '../fitness.ts'
import type { NodeMask } from '../model/masks.ts'
import type { NodeSlot } from '../facts.ts'
import type { Profile } from '../facts.ts'
import { refusedByNode } from '../scheduling/node-filters.ts'
import { podFilter, type PodFilter } from '../scheduling/pod-filters.ts'
import { best, nodesOf, unable, type Rule, type RuleInput, type Verdict } from './rule.ts'

/** A template, and where its pods would be accepted now. */
export interface Fit {
  readonly workload: WorkloadFacts
  /** Whether nodes take its pods, whatever else runs there. */
  readonly mask: NodeMask
  /** Whether other pods and volumes leave room. */
  readonly filter: PodFilter
}

export function fitOf({ world }: ClusterView, workload: WorkloadFacts): Fit {
  const { kind, namespace, name, demand } = workload
  const leaving = new Set<Profile>(workload.replaces ? world.profiles.ownedBy(kind, namespace, name) : [])
  return { workload, mask: world.masks.mask(demand.node), filter: podFilter(world, demand, leaving) }
}

/** Why a node does not take pods of the template; undefined if it does. */
export const refusal = ({ workload, filter }: Fit, slot: NodeSlot): string | undefined =>
  slot.facts && (refusedByNode(slot.facts, workload.demand.node) ?? filter(slot))

export const takes = ({ mask, filter }: Fit, slot: NodeSlot): boolean => mask.has(slot) && filter(slot) === undefined

/** Beyond this many templates of one repository the rest changes nothing that anybody would notice. */
const most = 16

/** Rule 4: a workload's template names the repository: nodes on which its pods would be accepted. */
export const template: Rule = (input) => {
  const workloads = workloadsOf(input)
  if (workloads.length === 0) return undefined
  const fits = workloads.map((workload) => fitOf(input.view, workload))
  const everywhere = fits.filter((fit) => fit.workload.everyNode)
  const targets =
    everywhere.length === 0 ? [] : nodesOf(slotsWhere(input, (slot) => everywhere.some((f) => takes(f, slot))))
  return (
    choose(input, fits, targets, takes, '') ??
    // No node has room at this moment. Pods will be where they may be as soon as there is some.
    choose(input, fits, targets, ({ mask }, slot) => mask.has(slot), ', none of which has room now') ?? {
      ...(targets.length > 0 ? { targets } : {}),
      rejected: () => rejections(input, fits),
    }
  )
}

function workloadsOf({ view, request, repositoryOf }: RuleInput): readonly WorkloadFacts[] {
  const workloads = new Set<WorkloadFacts>()
  for (const repository of new Set(request.images.map(repositoryOf))) {
    for (const workload of view.templatesOf(repository)) {
      workloads.add(workload)
      if (workloads.size >= most) break
    }
  }
  return [...workloads]
}

function choose(
  input: RuleInput,
  fits: readonly Fit[],
  everywhere: readonly string[],
  admits: (fit: Fit, slot: NodeSlot) => boolean,
  remark: string,
): Verdict | undefined {
  const { pool, repositoryOf, request } = input
  const allowed = Math.max(...fits.map((f) => f.mask.count))
  // A node that will run more of the workloads saves more deliveries.
  const prefers = fits.length === 1 ? {} : { prefers: (slot: NodeSlot) => fits.filter((f) => f.mask.has(slot)).length }
  const ranking = best(input, {
    candidates: 'welcoming',
    size: Math.min(allowed, pool.size),
    fits: (slot) => pool.welcomes(slot) && fits.some((f) => f.mask.has(slot)),
    accepts: (slot) => fits.some((f) => admits(f, slot)),
    ...prefers,
  })
  const builder = ranking.first
  const workload = builder && fits.find((f) => admits(f, builder))?.workload
  if (!workload) return undefined
  const targets = everywhere.includes(builder.name) ? everywhere : [builder.name, ...everywhere]
  const wanted = new Set(request.images.map(repositoryOf))
  const repository = workload.images.map(repositoryOf).find((r) => wanted.has(r)) ?? ''
  const choice = allowed === 1 ? 'may run only there' : `may run there, one of ${allowed} nodes it allows${remark}`
  const reason = `${workload.kind} ${workload.namespace}/${workload.name} uses ${repository} and ${choice}`
  return {
    placement: { rule: 'template', node: builder.name, targets, reason },
    rejected: () => rejections(input, fits),
    ranking,
  }
}

function slotsWhere({ view }: RuleInput, condition: (slot: NodeSlot) => boolean): NodeSlot[] {
  return view.table.slots
    .filter((slot) => slot?.facts !== undefined)
    .filter((slot) => condition(slot as NodeSlot)) as NodeSlot[]
}

function rejections(input: RuleInput, fits: readonly Fit[]): readonly Rejection[] {
  const rejected: Rejection[] = []
  for (const slot of input.view.table.slots) {
    if (!slot?.facts) continue
    const reasons = fits.map((fit) => refusal(fit, slot))
    const reason = reasons.every((r) => r !== undefined) ? reasons[0] : undefined
    const rejection = reason === undefined ? unwelcoming(slot.facts) : { node: slot.name, reason }
    if (rejection) rejected.push(rejection)
    else rejected.push(...unable(input, [slot.name]))
  }
  return rejected
}
