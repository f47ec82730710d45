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
  /** Milliseconds that a build waits for a node's turn while its connection builds something else. Default 60,000. */
  readonly patience?: number
}

/** A turn of one client connection, however many of its builds use it. */
interface Shared {
  users: number
  /** The agent has said that it is not its turn yet. */
  waiting: boolean
  readonly places: Set<(place: number) => void>
  readonly turn: Promise<() => void>
  readonly cancel: AbortController
}

/**
 * Turns that hold for all gateways: who has one of this gateway asks the agent of the node for one there. A node whose agent
 * cannot be asked counts with each gateway for itself: what is wrong with it is said where the build goes there. Connections of
 * several gateways can wait for each other, and no gateway sees it: one that builds something else does not wait for ever.
 */
export function createSharedTurns(options: SharedTurnsOptions): Turns {
  const { own, hold, check, logger, lookAgain = 1000, patience = 60_000 } = options
  const nodes = new Map<string, Map<object, Shared>>()
  /** Builds that have their turn, by connection. A split build has several. */
  const started = new Map<object, readonly object[]>()

  const ask = (node: string, most: number): Shared => {
    const cancel = new AbortController()
    const places = new Set<(place: number) => void>()
    const shared = { users: 0, waiting: false, places, cancel }
    const onPlace = (place: number): void => {
      shared.waiting = true
      places.forEach((tell) => tell(place))
    }
    const turn = hold(node, { limit: most, onPlace, signal: cancel.signal }).catch((error: unknown) => {
      if (!cancel.signal.aborted)
        logger.warn({ node, err: describeError(error) }, 'turns on a node are counted here only')
      return () => undefined
    })
    return Object.assign(shared, { turn })
  }
  const begin = (group: object, build: object): (() => void) => {
    started.set(group, [...(started.get(group) ?? []), build])
    return () => {
      const [...left] = started.get(group) ?? []
      left.splice(left.indexOf(build), 1)
      if (left.length > 0) started.set(group, left)
      else started.delete(group)
    }
  }
  const buildsElse = (group: object, build: object): boolean =>
    started.get(group)?.some((other) => other !== build) === true

  return {
    limit: (request) => own.limit(request),
    async wait(request) {
      const { node, group, build = request, signal, onPosition } = request
      let asked: Shared | undefined
      const release = await own.wait({ ...request, build, blocked: () => asked?.waiting === true })
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
        end()
        shared.users -= 1
        if (shared.users === 0) {
          groups.delete(group)
          if (groups.size === 0 && nodes.get(node) === groups) nodes.delete(node)
          shared.cancel.abort(new Error('nobody wants the turn any more'))
          void shared.turn.then((end) => end())
        }
        release()
      }
      let end = (): void => undefined
      const tell = (place: number): void => onPosition?.(place)
      shared.places.add(tell)
      asked = shared
      const since = performance.now()
      const late = (): boolean => {
        check(node)
        if (performance.now() - since < patience || !buildsElse(group, build)) return false
        logger.info(
          { node },
          'a build starts without a turn of its node: others of its connection may be waiting for it',
        )
        return true
      }
      try {
        await untilTurn(shared.turn, signal, late, lookAgain)
        end = begin(group, build)
        return giveBack
      } catch (error) {
        giveBack()
        throw error
      } finally {
        asked = undefined
        shared.places.delete(tell)
      }
    },
  }
}

/** @param late looked at now and then: the turn is not waited for any longer. @throws the signal's reason, or what `late` throws. */
async function untilTurn(
  turn: Promise<unknown>,
  signal: AbortSignal,
  late: () => boolean,
  every: number,
): Promise<void> {
  const stop = Promise.withResolvers<void>()
  const onAbort = (): void => stop.reject(signal.reason)
  const timer = setInterval(() => {
    try {
      if (late()) stop.resolve()
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
