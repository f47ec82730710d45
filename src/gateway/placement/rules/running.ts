import type { PodFacts } from '../cluster.ts'
import type { NodeSlot } from '../facts.ts'
import type { RollingPods } from '../model/pod-index.ts'
import { best, nodesOf, unable, type Rule } from './rule.ts'

/** Rule 3: pods that run this repository and whose successors will come up on the same nodes. */
export const running: Rule = (input) => {
  const { view, request, repositoryOf, pool } = input
  const repositories = [...new Set(request.images.map(repositoryOf))]
  const pods = together(repositories.map((repository) => view.rollingOf(repository)))
  if (pods.size === 0) return undefined
  const targets = nodesOf(pods.keys())
  const rejected = () => unable(input, targets)
  const ranking = best(input, { candidates: pods.keys(), size: pods.size, fits: pool.can })
  const builder = ranking.first
  const pod = builder && pods.get(builder)
  if (!pod) return { targets, rejected }
  const image = pod.rolling.find((i) => repositories.includes(repositoryOf(i))) ?? ''
  const owner = pod.owner ? ` of ${pod.owner.kind} ${pod.owner.name}` : ''
  const more = targets.length > 1 ? `, as on ${targets.length - 1} more` : ''
  const reason = `pod ${pod.namespace}/${pod.name}${owner} runs ${image} there${more} and rolls in place`
  return { placement: { rule: 'running', node: builder.name, targets, reason }, rejected, ranking }
}

/** Mostly there is one, which may be large. */
function together(all: readonly RollingPods[]): RollingPods {
  const some = all.filter((pods) => pods.size > 0)
  if (some.length === 1) return some[0] as RollingPods
  const pods = new Map<NodeSlot, PodFacts>()
  for (const [slot, pod] of some.flatMap((map) => [...map])) if (!pods.has(slot)) pods.set(slot, pod)
  return pods
}
