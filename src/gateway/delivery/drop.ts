import type { BuiltImage } from '../../api/images.ts'
import { describeError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import type { ImageIndex } from '../images/index.ts'
import type { AgentCalls } from './agent-calls.ts'

export interface DropOptions {
  readonly agents: Pick<AgentCalls, 'drop'>
  readonly index: ImageIndex
  readonly logger: Logger
}

/** Takes older copies of names away from a node. Never throws: the next inventory shows what is still there. */
export async function dropOn(
  { agents, index, logger }: DropOptions,
  node: string,
  images: readonly BuiltImage[],
): Promise<void> {
  try {
    await agents.drop(node, images)
    for (const { name, version } of images) index.remove(node, name, version)
    logger.info({ node, images }, 'a node has been told to give up older images, the next pod there gets the newest')
  } catch (error) {
    logger.warn({ node, images, err: describeError(error) }, 'a node keeps an older image for now')
  }
}
