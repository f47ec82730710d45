import { InsituError } from '../../kernel/errors.ts'
import type { ClusterView } from './cluster.ts'
import { cannotBuild, unwelcoming } from './fitness.ts'
import type { Decision } from './place.ts'
import type { Placement, PlacementRequest } from './placer.ts'

export interface ExplainedNode {
  readonly node: string
  /** `builds`: the chosen one. `runs`: will run the image. `fit`: could have built. `rejected`: see `reason`. */
  readonly verdict: 'builds' | 'runs' | 'fit' | 'rejected'
  readonly reason: string | undefined
  /** Absent where the rule left no choice. */
  readonly score: { readonly native: number; readonly cache: number; readonly running: number } | undefined
}

export interface Explanation {
  readonly request: PlacementRequest
  /** Absent when the build would be refused. */
  readonly placement: Placement | undefined
  readonly refusal: { readonly code: string; readonly message: string; readonly fix: string | undefined } | undefined
  /** Every node of the cluster: the builder, the other targets, those that fit, those that do not. */
  readonly nodes: readonly ExplainedNode[]
}

const order = ['builds', 'runs', 'fit', 'rejected'] as const

/**
 * Says for every node what a decision means for it.
 * @param outcome the decision, or the error that a rule refused the build with
 */
export function explain(view: ClusterView, request: PlacementRequest, outcome: Decision | InsituError): Explanation {
  const decision = outcome instanceof InsituError ? undefined : outcome
  const placement = decision?.placement
  const scores = new Map(decision?.scores().map(({ node, ...score }) => [node, score]))
  const rejected = new Map(decision?.rejected().map((r) => [r.node, r]))
  const names = new Set([...view.nodes.keys(), ...view.agents.keys(), ...(placement?.targets ?? [])])
  const nodes = [...names].map((node): ExplainedNode => {
    const facts = view.nodes.get(node)
    const rejection =
      cannotBuild(view, node, request.platforms, request) ?? rejected.get(node) ?? (facts && unwelcoming(facts))
    const reason = rejection && (rejection.detail ? `${rejection.reason}: ${rejection.detail}` : rejection.reason)
    const verdict =
      placement?.node === node ? 'builds' : placement?.targets.includes(node) ? 'runs' : rejection ? 'rejected' : 'fit'
    return { node, verdict, reason: verdict === 'builds' ? undefined : reason, score: scores.get(node) }
  })
  const cache = (n: ExplainedNode): number => n.score?.cache ?? -1
  nodes.sort(
    (a, b) => order.indexOf(a.verdict) - order.indexOf(b.verdict) || cache(b) - cache(a) || (a.node < b.node ? -1 : 1),
  )
  const refusal = outcome instanceof InsituError ? refusalOf(outcome) : undefined
  return { request, placement, refusal, nodes }
}

/** As data, for who prints it. */
export const refusalOf = ({ code, message, fix }: InsituError): NonNullable<Explanation['refusal']> => {
  return { code, message, fix }
}
