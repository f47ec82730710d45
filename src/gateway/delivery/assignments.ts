import type { BuiltImage } from '../../api/images.ts'
import type { AgentCalls } from './agent-calls.ts'

/** Which node a target was told to get an image from, for as long as it does. */
export interface Assignments {
  source(target: string, image: BuiltImage): string | undefined
  /** A pull that the target's own lookups will be answered for. */
  readonly pull: AgentCalls['pull']
}

/** A target's containerd asks its mirror, and that asks us: the answer keeps to the plan of the delivery. */
export function createAssignments(pull: AgentCalls['pull']): Assignments {
  const sources = new Map<string, string>()
  const key = (target: string, { digest }: BuiltImage): string => `${target} ${digest}`
  return {
    source: (target, image) => sources.get(key(target, image)),
    async pull(target, image, peers, onBytes, signal) {
      const [source] = peers
      if (source !== undefined) sources.set(key(target, image), source)
      try {
        return await pull(target, image, peers, onBytes, signal)
      } finally {
        sources.delete(key(target, image))
      }
    },
  }
}
