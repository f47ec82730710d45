import type { WorkloadFacts } from '../cluster.ts'
import { unwelcoming, type Rejection } from '../fitness.ts'
import { refusesPod } from '../scheduling.ts'
import { able, best, type Rule } from './rule.ts'

/** Rule 4: a workload's template names the repository: nodes on which its pods may run. */
export const template: Rule = (input) => {
  const { view, request, repositoryOf } = input
  const workloads = new Set<WorkloadFacts>()
  for (const repository of new Set(request.images.map(repositoryOf))) {
    for (const workload of view.templatesOf(repository)) workloads.add(workload)
  }
  if (workloads.size === 0) return undefined
  const refused: Rejection[] = []
  const welcoming: string[] = []
  const admitted = new Map<string, WorkloadFacts[]>()
  for (const node of view.nodes.values()) {
    const reasons = new Map([...workloads].map((w) => [w, refusesPod(node, w.constraints)]))
    const takes = [...workloads].filter((w) => reasons.get(w) === undefined)
    if (takes.length === 0) refused.push({ node: node.name, reason: reasons.values().next().value ?? '' })
    else {
      admitted.set(node.name, takes)
      const rejection = unwelcoming(node)
      if (rejection) refused.push(rejection)
      else welcoming.push(node.name)
    }
  }
  const { nodes, rejected } = able(input, welcoming)
  // A node that will run more of the workloads saves more deliveries.
  const most = Math.max(0, ...nodes.map((n) => admitted.get(n)?.length ?? 0))
  const ranking = best(
    input,
    nodes.filter((n) => admitted.get(n)?.length === most),
  )
  const builder = ranking.first
  const everywhere = [...admitted].filter(([, takes]) => takes.some((w) => w.everyNode)).map(([name]) => name)
  if (!builder) {
    return { ...(everywhere.length > 0 ? { targets: everywhere } : {}), rejected: [...refused, ...rejected] }
  }
  const [workload] = admitted.get(builder.node) ?? []
  if (!workload) return undefined
  const targets = [...new Set([builder.node, ...everywhere])]
  const choice = nodes.length === 1 ? 'only there' : `there and on ${nodes.length - 1} more`
  const reason = `${workload.kind} ${workload.namespace}/${workload.name} uses ${repositoryIn(workload, input.request.images, repositoryOf)} and may run ${choice}`
  return {
    placement: { rule: 'template', node: builder.node, targets, reason },
    rejected: [...refused, ...rejected],
    ranking,
  }
}

function repositoryIn(
  workload: WorkloadFacts,
  images: readonly string[],
  repositoryOf: (image: string) => string,
): string {
  const wanted = new Set(images.map(repositoryOf))
  return workload.images.map(repositoryOf).find((r) => wanted.has(r)) ?? ''
}
