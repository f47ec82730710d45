import type { ClusterView } from '../placement/cluster.ts'

/**
 * Whether a pod of the node may wait for its kubelet to pull another image than this one. Pods that wait for this one too wait
 * for the same, and what may not be pulled takes nobody's turn.
 */
export function othersWait(
  view: Pick<ClusterView, 'waitingFor' | 'waitingImages'>,
  node: string,
  name: string,
): boolean {
  for (const image of view.waitingImages()) {
    if (image === name) continue
    for (const pod of view.waitingFor(image)) {
      if (pod.node !== node || pod.waiting.some((one) => one.image === name)) continue
      if (pod.waiting.some((one) => one.image === image && one.pullPolicy !== 'Never')) return true
    }
  }
  return false
}
