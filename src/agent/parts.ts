import { diskPart } from './disk/part.ts'
import type { AgentOptions } from './options.ts'
import type { Part } from './part.ts'

/** What an agent consists of besides the supervision of buildkitd. Parts that need each other are joined here. */
export function agentParts(_options: AgentOptions): readonly Part[] {
  return [diskPart({ built: () => new Set() })]
}
