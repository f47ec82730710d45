import { setTimeout as sleep } from 'node:timers/promises'
import { InsituError } from '../../kernel/errors.ts'
import type { BuildNode } from './directory.ts'

/**
 * Watches over the nodes that clients are connected to. A node that loses its power or its network says no goodbye:
 * TCP notices after many minutes when data is on its way, and daemons want no PINGs.
 */
export interface Vigil {
  /**
   * @param dead called once, when the node has not answered for a while.
   * @returns a function that ends the watch.
   */
  over(node: BuildNode, dead: (reason: InsituError) => void): () => void
}

export interface VigilOptions {
  /** Milliseconds between two questions to a node. Default 3,000. */
  readonly interval?: number
  /** So many in a row without an answer when the next one is due. Default 4: 12 to 15 s. */
  readonly patience?: number
}

interface Watch {
  readonly watchers: Set<(reason: InsituError) => void>
  readonly end: AbortController
}

/**
 * Each node is asked once, however many clients are connected to it. A question does not wait for the answer to the
 * one before, and a late answer counts too: a machine under load is slow, but it answers in the end.
 */
export function createVigil({ interval = 3000, patience = 4 }: VigilOptions = {}): Vigil {
  const watches = new Map<string, Watch>()

  const keep = async (node: BuildNode, ask: () => Promise<unknown>, watch: Watch): Promise<void> => {
    const { signal } = watch.end
    let unanswered = 0
    let failure: unknown
    for (;;) {
      await sleep(interval, undefined, { signal, ref: false }).catch(() => undefined)
      if (signal.aborted) return
      if (unanswered < patience) {
        unanswered += 1
        void ask().then(
          () => (unanswered = 0),
          (error: unknown) => (failure = error),
        )
        continue
      }
      watches.delete(node.name)
      const reason = new InsituError('NODE_SILENT', `node ${node.name} has stopped to answer`, {
        status: 'UNAVAILABLE',
        cause: failure,
      })
      for (const dead of watch.watchers) dead(reason)
      return
    }
  }

  return {
    over(node, dead) {
      const { answers } = node
      if (!answers) return () => undefined
      let watch = watches.get(node.name)
      if (!watch) {
        watch = { watchers: new Set(), end: new AbortController() }
        watches.set(node.name, watch)
        void keep(node, answers, watch)
      }
      const mine = watch
      mine.watchers.add(dead)
      return () => {
        mine.watchers.delete(dead)
        if (mine.watchers.size > 0) return
        mine.end.abort(new Error('nobody is connected to the node any more'))
        if (watches.get(node.name) === mine) watches.delete(node.name)
      }
    },
  }
}
