import type { Constraints, NodeFacts, NodeRequirement, NodeTerm, Taint, Toleration } from './cluster.ts'

/**
 * Why kube-scheduler would not put a pod with these constraints on this node, in its own words where it has some, or
 * undefined if it may. Rules: the NodeUnschedulable, NodeName, TaintToleration and NodeAffinity plug-ins. Requests,
 * pod affinity, spread and volumes are not looked at.
 */
export function refusesPod(node: NodeFacts, constraints: Constraints): string | undefined {
  if (constraints.nodeName !== undefined && constraints.nodeName !== node.name) return 'is not the requested node'
  const unschedulable: Taint = { key: 'node.kubernetes.io/unschedulable', value: '', effect: 'NoSchedule' }
  if (node.unschedulable && !constraints.tolerations.some((t) => tolerates(t, unschedulable))) return 'cordoned'
  for (const [key, value] of Object.entries(constraints.nodeSelector)) {
    if (node.labels[key] !== value) return "didn't match the workload's node selector"
  }
  if (constraints.terms !== undefined && !constraints.terms.some((term) => matchesTerm(node, term))) {
    return "didn't match the workload's node affinity"
  }
  const taint = node.taints.find(
    (t) =>
      (t.effect === 'NoSchedule' || t.effect === 'NoExecute') && !constraints.tolerations.some((o) => tolerates(o, t)),
  )
  return taint && `untolerated taint ${taint.key}${taint.value === '' ? '' : `=${taint.value}`}`
}

/** A term without requirements matches nothing: component-helpers/scheduling/corev1/nodeaffinity. */
function matchesTerm(node: NodeFacts, term: NodeTerm): boolean {
  const { matchExpressions = [], matchFields = [] } = term
  if (matchExpressions.length === 0 && matchFields.length === 0) return false
  return (
    matchExpressions.every((r) => matchesRequirement(node.labels[r.key], r)) &&
    matchFields.every((r) => r.key === 'metadata.name' && matchesRequirement(node.name, r))
  )
}

/** Label requirement semantics of apimachinery's labels.Requirement. */
function matchesRequirement(value: string | undefined, requirement: NodeRequirement): boolean {
  const values = requirement.values ?? []
  switch (requirement.operator) {
    case 'In':
      return value !== undefined && values.includes(value)
    case 'NotIn':
      return value === undefined || !values.includes(value)
    case 'Exists':
      return value !== undefined
    case 'DoesNotExist':
      return value === undefined
    case 'Gt':
    case 'Lt': {
      if (value === undefined || !/^[+-]?\d+$/.test(value) || !/^[+-]?\d+$/.test(values[0] ?? '')) return false
      const difference = BigInt(value) - BigInt(values[0] ?? '')
      return requirement.operator === 'Gt' ? difference > 0n : difference < 0n
    }
    default:
      return false
  }
}

/** core/v1 Toleration.ToleratesTaint. */
function tolerates(toleration: Toleration, taint: Taint): boolean {
  if (toleration.effect && toleration.effect !== taint.effect) return false
  if (toleration.key && toleration.key !== taint.key) return false
  if (toleration.operator === 'Exists') return true
  if (toleration.operator !== undefined && toleration.operator !== '' && toleration.operator !== 'Equal') return false
  return (toleration.value ?? '') === taint.value
}
