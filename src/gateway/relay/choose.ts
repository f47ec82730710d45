import type { BuildNode, Directory } from '../directory/directory.ts'
import { InsituError } from '../../kernel/errors.ts'

/** The one node there is, if there is only one: then every call can go to it. */
export function soleNode(directory: Directory): BuildNode | undefined {
  const nodes = directory.nodes()
  return nodes.length === 1 ? nodes[0] : undefined
}

/**
 * A node for a question that any daemon can answer: the one this client talks to already, else the first ready one.
 * @throws InsituError NO_NODE (UNAVAILABLE)
 */
export function anyNode(directory: Directory, preferred: string | undefined): BuildNode {
  const nodes = directory.nodes()
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

/** @throws InsituError NODE_GONE */
export function namedNode(directory: Directory, name: string): BuildNode {
  const node = directory.node(name)
  if (node) return node
  throw new InsituError('NODE_GONE', `node ${name} was chosen for the build and is not there any more`, {
    status: 'UNAVAILABLE',
    fix: 'run the build again',
  })
}
