import { describeError } from '../../kernel/errors.ts'
import type { BuildNode } from '../directory/directory.ts'
import type { RelayContext } from './context.ts'

/** The proxy variables for RUN steps on a node; none where they are switched off or cannot be learnt. */
export async function proxyOf(context: RelayContext, node: BuildNode): Promise<Readonly<Record<string, string>>> {
  if (!context.config.proxy) return {}
  try {
    return await node.proxy()
  } catch (error) {
    // A build that needs no network should not fail for it; one that does says so itself.
    context.logger.warn({ node: node.name, err: describeError(error) }, 'the proxy variables of the node are unknown')
    return {}
  }
}
