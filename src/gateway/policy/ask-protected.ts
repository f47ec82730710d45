import { agentPaths } from '../../api/agent-api.ts'
import { describeError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import type { ProtectedNames } from './protected.ts'

export interface AskProtectedOptions {
  /** GETs a path of the agent's API on a node. */
  readonly ask: (node: string, path: string, signal: AbortSignal) => Promise<unknown>
  /** Whether a node is not waited for now: it gets no image either. */
  readonly isLost: (node: string) => boolean
  readonly logger: Logger
}

/**
 * Asks the agents of all nodes a build may write to, at the same time. The builder is the first of the nodes: without
 * its answer there is no build. A target that does not answer, or is lost, gets no image either, and its agent puts back
 * what is written past it.
 */
export function askProtectedNames({ ask, isLost, logger }: AskProtectedOptions): ProtectedNames {
  return {
    async find(images, nodes, signal) {
      const query = images.map((name) => `name=${encodeURIComponent(name)}`).join('&')
      const answers = await Promise.all(
        nodes.map(async (node, i) => {
          if (i > 0 && isLost(node)) return { node, names: [] }
          try {
            return { node, names: parse(await ask(node, `${agentPaths.protected}?${query}`, signal)) }
          } catch (error) {
            // An agent of before this question: it will be replaced in a moment.
            if (i === 0 && !/HTTP 404/.test(describeError(error))) throw error
            logger.warn({ node, err: describeError(error) }, 'a node does not say which names it protects')
            return { node, names: [] }
          }
        }),
      )
      for (const { node, names } of answers) {
        const name = images.find((image) => names.includes(image))
        if (name !== undefined) return { name, node }
      }
      return undefined
    },
  }
}

function parse(value: unknown): readonly string[] {
  const names = (value as { protected?: unknown } | undefined)?.protected
  return Array.isArray(names) ? names.filter((name) => typeof name === 'string') : []
}
