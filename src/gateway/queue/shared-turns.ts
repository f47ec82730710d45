import { describeError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import type { TurnWish } from '../directory/agent-turn.ts'
import type { Turns } from './turns.ts'

export interface SharedTurnsOptions {
  /** The turns of this gateway: their order is that of its tenants. */
  readonly own: Turns
  /** Asks the agent of a node. @throws anything when there is none to ask. */
  readonly hold: (node: string, wish: TurnWish) => Promise<() => void>
  /** Throws why a node takes no builds any more, if it does not. */
  readonly check: (node: string) => void
  readonly logger: Logger
  /** Milliseconds between two looks at the node while somebody waits. Default 1000. */
  readonly lookAgain?: number
}

/** A turn of one client connection, however many of its builds use it. */
interface Shared {
  users: number
  readonly places: Set<(place: number) => void>
  readonly turn: Promise<() => void>
  readonly cancel: AbortController
}

/**
 * Turns that hold for all gateways: who has one of this gateway asks the agent of the node for one there. A node whose agent
 * cannot be asked counts with each gateway for itself: what is wrong with it is said where the build goes there.
 */
export function createSharedTurns(options: SharedTurnsOptions): Turns {
  const { own, hold, check, logger, lookAgain = 1000 } = options
  const nodes = new Map<string, Map<object, Shared>>()

  const ask = (node: string, most: number): Shared => {
    const cancel = new AbortController()
    const places = new Set<(place: number) => void>()
    const onPlace = (place: number): void => places.forEach((tell) => tell(place))
    const turn = hold(node, { limit: most, onPlace, signal: cancel.signal }).catch((error: unknown) => {
      if (!cancel.signal.aborted)
        logger.warn({ node, err: describeError(error) }, 'turns on a node are counted here only')
      return () => undefined
    })
    return { users: 0, places, turn, cancel }
  }

  return {
    limit: (request) => own.limit(request),
    async wait(request) {
      const { node, group, signal, onPosition } = request
      const release = await own.wait(request)
      const most = own.limit(request)
      if (most === undefined) return release
      const groups = nodes.get(node) ?? new Map<object, Shared>()
      nodes.set(node, groups)
      const shared = groups.get(group) ?? ask(node, most)
      groups.set(group, shared)
      shared.users += 1
      let held = true
      const giveBack = (): void => {
        if (!held) return
        held = false
        shared.users -= 1
        if (shared.users === 0) {
          groups.delete(group)
          if (groups.size === 0 && nodes.get(node) === groups) nodes.delete(node)
          shared.cancel.abort(new Error('nobody wants the turn any more'))
          void shared.turn.then((end) => end())
        }
        release()
      }
      const tell = (place: number): void => onPosition?.(place)
      shared.places.add(tell)
      try {
        await untilTurn(shared.turn, signal, () => check(node), lookAgain)
        return giveBack
      } catch (error) {
        giveBack()
        throw error
      } finally {
        shared.places.delete(tell)
      }
    },
  }
}

/** @throws the signal's reason, or what the check throws. */
async function untilTurn(turn: Promise<unknown>, signal: AbortSignal, check: () => void, every: number): Promise<void> {
  const stop = Promise.withResolvers<never>()
  const onAbort = (): void => stop.reject(signal.reason)
  const timer = setInterval(() => {
    try {
      check()
    } catch (error) {
      stop.reject(error)
    }
  }, every)
  if (signal.aborted) onAbort()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    await Promise.race([turn, stop.promise])
  } finally {
    clearInterval(timer)
    signal.removeEventListener('abort', onAbort)
  }
}
