import type { BuildNode, Directory } from '../directory/directory.ts'
import { InsituError } from '../../kernel/errors.ts'

/** The one node there is, if there is only one: then every call can go to it. */
export function soleNode(directory: Directory): BuildNode | undefined {
  const nodes = directory.nodes()
  return nodes.length === 1 ? nodes[0] : undefined
}

/**
 * A node for a question that any daemon can answer: the one this client talks to already, else the first ready one.
 * @param allows which nodes the caller may use; where that is none, all count, and the policy refuses what comes of it.
 * @throws InsituError NO_NODE (UNAVAILABLE)
 */
export function anyNode(
  directory: Directory,
  preferred: string | undefined,
  allows: (name: string) => boolean = () => true,
): BuildNode {
  const allowed = directory.nodes().filter(({ name }) => allows(name))
  const nodes = allowed.length > 0 ? allowed : directory.nodes()
  const found = nodes.find((n) => n.name === preferred && n.ready) ?? nodes.find((n) => n.ready) ?? soleNode(directory)
  if (found) return found
  throw new InsituError('NO_NODE', 'no node can build at the moment', {
    status: 'UNAVAILABLE',
    fix:
      nodes.length === 0
        ? 'look whether the agents run: kubectl -n buildkit-system get pods -l insitu.build/role=agent'
        : `look at the reports of ${nodes.map((n) => n.name).join(', ')} with insitu doctor`,
  })
}

/** Whether the node's daemon has a store of its own, in which no pod finds an image. */
export const isRootless = ({ report }: Pick<BuildNode, 'report'>): boolean => report?.mode === 'rootless'

/** @throws InsituError IMAGE_CANNOT_STAY where every node that builds is rootless. */
export function checkCanStay(nodes: readonly Pick<BuildNode, 'ready' | 'report'>[]): void {
  const ready = nodes.filter((node) => node.ready)
  if (ready.length === 0 || !ready.every(isRootless)) return
  throw new InsituError(
    'IMAGE_CANNOT_STAY',
    'images cannot stay on the nodes here: insitu runs rootless, without access to their containerd',
    {
      status: 'FAILED_PRECONDITION',
      fix: 'push the image (buildctl --output type=image,name=REGISTRY/NAME,push=true; buildx --push), or take it with --output type=oci|docker|tar|local',
    },
  )
}

/** @throws InsituError NODE_GONE */
export function namedNode(directory: Directory, name: string): BuildNode {
  const node = directory.node(name)
  if (node) return node
  throw new InsituError('NODE_GONE', `node ${name} was chosen for the build and is not there any more`, {
    status: 'UNAVAILABLE',
    fix: 'run the build again',
  })
}
