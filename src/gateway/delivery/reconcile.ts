import type { Logger } from '../../kernel/log.ts'
import type { ImageIndex } from '../images/index.ts'
import type { AgentCalls } from './agent-calls.ts'
import { dropOn } from './drop.ts'

export interface ReconcileOptions {
  readonly index: ImageIndex
  readonly agents: AgentCalls
  readonly logger: Logger
  /** Milliseconds that nodes may differ: a delivery may be on its way, of another gateway too. Default 15,000. */
  readonly patience?: number
}

/**
 * Two nodes that have different images under one name, whoever built them and whatever went wrong since: the newest
 * wins, and the others lose theirs, so that their next pod asks the mirror.
 * @returns what ends it.
 */
export function reconcileNames({ index, agents, logger, patience = 15_000 }: ReconcileOptions): () => void {
  const timers = new Map<string, NodeJS.Timeout>()
  const settle = async (name: string): Promise<void> => {
    const newest = index.newest(name)
    const stale = index.stale(name)
    if (!newest) return
    for (const { node, image } of stale) {
      const holders = index.holders(newest)
      logger.warn(
        { name, node, digest: image.digest, version: image.version, winner: newest, holders },
        'two nodes have different images under one name: the newest build wins',
      )
      await dropOn({ agents, index, logger }, node, [newest])
    }
  }
  const later = (name: string): void => {
    if (timers.has(name) || index.stale(name).length === 0) return
    const timer = setTimeout(() => {
      timers.delete(name)
      // Where it fails it is tried again until the node has heard of it, or is gone.
      void settle(name).then(() => later(name))
    }, patience).unref()
    timers.set(name, timer)
  }
  const stop = index.onChange(later)
  return () => {
    stop()
    for (const timer of timers.values()) clearTimeout(timer)
    timers.clear()
  }
}
