import type { PodFacts } from '../cluster.ts'
import type { NodeSlot } from '../facts.ts'
import { byAge } from '../model/pod-index.ts'
import { hasRoom, nodesOf, unable, type Rule } from './rule.ts'

/**
 * Rule 2: pods that are on a node and wait for this very image. All their nodes are targets; of the nodes that can
 * build, the one builds whose pod is oldest, of those first on which the build need not wait for a turn.
 */
export const waiting: Rule = (input) => {
  const { view, request, pool } = input
  const oldest = new Map<NodeSlot, PodFacts>()
  let count = 0
  let first: PodFacts | undefined
  let free = false
  for (const image of new Set(request.images)) {
    for (const pod of view.waitingFor(image)) {
      if (!pod.slot) continue
      const known = oldest.get(pod.slot)
      if (known !== pod) count += 1
      if (!known || byAge(pod, known) < 0) oldest.set(pod.slot, pod)
      if (!pool.can(pod.slot)) continue
      const room = hasRoom(input, pod.slot)
      if (first && (room === free ? byAge(pod, first) >= 0 : free)) continue
      first = pod
      free = room
    }
  }
  if (count === 0) return undefined
  // Thousands of nodes are not worth putting in order.
  const slots =
    oldest.size > 100 ? oldest.keys() : [...oldest].sort(([, a], [, b]) => byAge(a, b)).map(([slot]) => slot)
  const targets = nodesOf(slots)
  const rejected = () => unable(input, targets)
  const node = first?.node
  if (!first || node === undefined) return { targets, rejected }
  const image = request.images.find((i) => first.waiting.some((w) => w.image === i)) ?? ''
  const others = count - 1
  const more = others === 0 ? '' : ` (and ${others} more ${others === 1 ? 'pod' : 'pods'}${placesOf(targets.length)})`
  const reason = `pod ${first.namespace}/${first.name} waits there for ${image}${more}`
  return { placement: { rule: 'waiting', node, targets, reason }, rejected }
}

const placesOf = (nodes: number): string => (nodes > 1 ? ` on ${nodes} nodes` : '')
