import type { Agent } from '../directory/agent.ts'
import type { ClusterView } from '../placement/cluster.ts'

/** A pull that no mirror has heard of. */
export interface UnmirroredPull {
  /** Normalised. */
  readonly name: string
  readonly node: string
}

/** What a kubelet says of a pod whose image it asked a registry for, and did not get. */
const failed: ReadonlySet<string> = new Set(['ErrImagePull', 'ImagePullBackOff'])

/**
 * Pulls that failed on nodes that build rootless: there is no mirror in their containerd (or no containerd), so that
 * nobody asks a gateway, and all that is to be seen is the pod. In the order of names and nodes.
 */
export function unmirroredPulls(
  view: Pick<ClusterView, 'waitingFor' | 'waitingImages'>,
  agents: ReadonlyMap<string, Pick<Agent, 'rootless'>>,
): UnmirroredPull[] {
  const found = new Map<string, UnmirroredPull>()
  for (const name of view.waitingImages()) {
    for (const { node, waiting } of view.waitingFor(name)) {
      if (node === undefined || agents.get(node)?.rootless !== true) continue
      if (waiting.some((w) => w.image === name && failed.has(w.reason))) found.set(`${name} ${node}`, { name, node })
    }
  }
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, pull]) => pull)
}

/** For the Build whose image cannot come to a node. */
export const unservedBecause = ({ name, node }: UnmirroredPull): string =>
  `node ${node} wants ${name} and builds rootless: its kubelet asks registries only, so the image has to be pushed (spec.output.push: true)`
