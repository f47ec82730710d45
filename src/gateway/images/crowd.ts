import type { ClusterView, WaitingContainer } from '../placement/cluster.ts'

/**
 * Whether a pod of the node may wait for its kubelet to pull another image than this one. Pods that wait for this one too wait
 * for the same, and what is not pulled now takes nobody's turn.
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
      if (pod.waiting.some((one) => one.image === image && isPulled(one))) return true
    }
  }
  return false
}

/**
 * Whether its kubelet pulls for the container now, or would if it were its turn. Not in a back-off, which is minutes long; a new try
 * after it is not to be told from it. A pod that waits for a volume or its network counts, since a kubelet writes the status before
 * it sees to these, makes the sandbox and pulls: in the first pull PodReadyToStartContainers is still False.
 */
const isPulled = ({ behind = false, reason, pullPolicy }: WaitingContainer): boolean =>
  !behind && reason !== 'ImagePullBackOff' && pullPolicy !== 'Never'
