import type { Agent } from '../directory/agent.ts'
import type { NodeFacts } from '../placement/cluster.ts'
import type { Asking } from './decide.ts'

export interface AskingOptions {
  readonly agents: () => ReadonlyMap<string, Pick<Agent, 'ready' | 'trouble' | 'platforms' | 'rootless'>>
  readonly view: () => { readonly nodes: ReadonlyMap<string, NodeFacts> }
  /** Why the policy does not let the Build build there. */
  readonly refusal: (node: string) => string | undefined
}

/** What a node that asks for a name is, and why it could not build it itself. `pushes`: what is built need not stay. */
export function askingNode(node: string, pushes: boolean, { agents, view, refusal }: AskingOptions): Asking {
  const agent = agents().get(node)
  const facts = view().nodes.get(node)
  const cannotBuild =
    agent === undefined
      ? 'has no agent'
      : agent.rootless === true && !pushes
        ? 'builds rootless: no image can stay there'
        : !agent.ready
          ? (agent.trouble ?? 'is not ready')
          : facts?.unschedulable === true
            ? 'is cordoned'
            : (facts?.leaving ?? (facts?.pressure[0] === undefined ? refusal(node) : `reports ${facts.pressure[0]}`))
  return { node, platform: facts?.platform ?? agent?.platforms[0], cannotBuild }
}
