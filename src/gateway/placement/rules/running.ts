import type { PodFacts } from '../cluster.ts'
import { able, best, type Rule } from './rule.ts'
import { byAge } from './waiting.ts'

/** Rule 3: pods that run this repository and whose successors will come up on the same nodes. */
export const running: Rule = (input) => {
  const { view, request, repositoryOf } = input
  const pods = new Map<PodFacts, string>()
  for (const repository of new Set(request.images.map(repositoryOf))) {
    for (const pod of view.rollingOf(repository)) pods.set(pod, repository)
  }
  if (pods.size === 0) return undefined
  const targets = [...new Set([...pods.keys()].sort(byAge).flatMap((p) => p.node ?? []))]
  const { nodes, rejected } = able(input, targets)
  const ranking = best(input, nodes)
  const builder = ranking.first
  if (!builder) return { targets, rejected }
  const [pod] = [...pods.keys()].filter((p) => p.node === builder.node).sort(byAge)
  if (!pod) return undefined
  const repository = pods.get(pod) ?? ''
  const image = pod.rolling.find((i) => repositoryOf(i) === repository) ?? repository
  const owner = pod.owner ? ` of ${pod.owner.kind} ${pod.owner.name}` : ''
  const more = targets.length > 1 ? `, as on ${targets.length - 1} more` : ''
  const reason = `pod ${pod.namespace}/${pod.name}${owner} runs ${image} there${more} and rolls in place`
  return { placement: { rule: 'running', node: builder.node, targets, reason }, rejected, ranking }
}
