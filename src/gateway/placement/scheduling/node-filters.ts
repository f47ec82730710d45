import type { NodeFacts, Taint } from '../facts.ts'
import type { NodeDemand } from './demand.ts'
import type { NodeTerm, Toleration } from './pod-spec.ts'
import { matchesRequirement } from './selector.ts'

type Node = Pick<NodeFacts, 'name' | 'labels' | 'taints' | 'unschedulable'>

const unschedulable: Taint = { key: 'node.kubernetes.io/unschedulable', value: '', effect: 'NoSchedule' }

/**
 * Why kube-scheduler would not put a pod on this node whatever else runs there, or undefined if it may. Rules: the
 * NodeName, NodeUnschedulable, NodeAffinity and TaintToleration plug-ins. Conditions of a node (not ready, under
 * pressure) reach pods as taints.
 */
export function refusedByNode(node: Node, demand: NodeDemand): string | undefined {
  if (demand.nodeName !== undefined && demand.nodeName !== node.name) return 'is not the requested node'
  if (node.unschedulable && !demand.tolerations.some((t) => tolerates(t, unschedulable))) return 'cordoned'
  if (!matchesNodeSelector(node, demand)) return "didn't match the workload's node selector"
  if (!matchesNodeAffinity(node, demand)) return "didn't match the workload's node affinity"
  const taint = untoleratedTaint(node, demand)
  return taint && `untolerated taint ${taint.key}${taint.value === '' ? '' : `=${taint.value}`}`
}

export function matchesNodeSelector(node: Node, { nodeSelector }: NodeDemand): boolean {
  for (const key in nodeSelector) if (node.labels[key] !== nodeSelector[key]) return false
  return true
}

export const matchesNodeAffinity = (node: Node, { terms }: NodeDemand): boolean =>
  terms === undefined || terms.some((term) => matchesTerm(node, term))

/** The first taint that keeps the pod away. */
export function untoleratedTaint(node: Node, { tolerations }: NodeDemand): Taint | undefined {
  if (node.taints.length === 0) return undefined
  return node.taints.find(
    (t) => (t.effect === 'NoSchedule' || t.effect === 'NoExecute') && !tolerations.some((o) => tolerates(o, t)),
  )
}

/** A term without requirements matches nothing: component-helpers/scheduling/corev1/nodeaffinity. */
function matchesTerm(node: Node, { matchExpressions = [], matchFields = [] }: NodeTerm): boolean {
  if (matchExpressions.length === 0 && matchFields.length === 0) return false
  return (
    matchExpressions.every((r) => matchesRequirement(node.labels[r.key], r)) &&
    matchFields.every((r) => matchesRequirement(r.key === 'metadata.name' ? node.name : undefined, r))
  )
}

/** core/v1 Toleration.ToleratesTaint, without the comparisons that are still behind a feature gate. */
function tolerates(toleration: Toleration, taint: Taint): boolean {
  if (toleration.effect && toleration.effect !== taint.effect) return false
  if (toleration.key && toleration.key !== taint.key) return false
  if (toleration.operator === 'Exists') return true
  if (toleration.operator !== undefined && toleration.operator !== '' && toleration.operator !== 'Equal') return false
  return (toleration.value ?? '') === taint.value
}
