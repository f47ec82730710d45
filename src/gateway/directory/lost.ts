import type { NodeFacts } from '../placement/cluster.ts'
import type { Agent } from './agent.ts'

/**
 * Why nothing can be asked of a node for now, so that nobody waits for it; undefined for one that is there. Pods of a node
 * that died are said to run until somebody deletes them. An agent that is being replaced or restarted is back in a moment.
 */
export function whyLost(
  node: Pick<NodeFacts, 'ready'> | undefined,
  agent: Pick<Agent, 'silent'> | undefined,
): string | undefined {
  if (node?.ready === false) return 'the node is not ready'
  return agent?.silent === true ? 'its agent does not answer' : undefined
}
