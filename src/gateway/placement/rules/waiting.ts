import type { PodFacts } from '../cluster.ts'
import { able, type Rule } from './rule.ts'

/** Rule 2: pods that are on a node and wait for this very image. All their nodes are targets; the oldest one's builds. */
export const waiting: Rule = (input) => {
  const { view, request } = input
  const pods = new Map<PodFacts, string>()
  for (const image of request.images) for (const pod of view.waitingFor(image)) pods.set(pod, image)
  if (pods.size === 0) return undefined
  const oldestFirst = [...pods.keys()].sort(byAge)
  const targets = [...new Set(oldestFirst.flatMap((p) => p.node ?? []))]
  const { nodes, rejected } = able(input, targets)
  const [node] = nodes
  if (node === undefined) return { targets, rejected }
  const here = oldestFirst.filter((p) => p.node === node)
  const [first] = here
  if (!first) return undefined
  const others = oldestFirst.length - 1
  const more = others === 0 ? '' : ` (and ${others} more ${others === 1 ? 'pod' : 'pods'}${placesOf(targets.length)})`
  const reason = `pod ${first.namespace}/${first.name} waits there for ${pods.get(first)}${more}`
  return { placement: { rule: 'waiting', node, targets, reason }, rejected }
}

const placesOf = (nodes: number): string => (nodes > 1 ? ` on ${nodes} nodes` : '')

export const byAge = (a: PodFacts, b: PodFacts): number =>
  a.created - b.created || (`${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1)
