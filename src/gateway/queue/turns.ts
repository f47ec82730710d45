import type { Caller } from '../listener/caller.ts'

/** A build that was placed and wants to start. */
export interface TurnRequest {
  readonly caller: Caller
  /** The node that builds. */
  readonly node: string
  /**
   * The client's connection. Builds of one connection share a turn: those of `bake` wait for each other, and one that
   * holds a turn while it waits for one that has none would wait for ever.
   */
  readonly group: object
  /** The turns of a split build, which it takes one after the other, are of one build. Default: a build of its own. */
  readonly build?: object | undefined
  /** What the client says itself: it starts while fewer connections than this build there. */
  readonly perNode?: number | undefined
  /** Told the place in the queue (1 is next) whenever it changes. Not called for a build that starts at once. */
  readonly onPosition?: ((position: number) => void) | undefined
  /** Aborts when the client is gone: the build leaves the queue at once. */
  readonly signal: AbortSignal
}

/** Says when a build may start on its node. */
export interface Turns {
  /**
   * @returns a function that gives the turn back when the build has ended.
   * @throws the signal's reason; InsituError DRAINING when the queue is closed.
   */
  wait(request: TurnRequest): Promise<() => void>
  /** How many connections may build on a request's node at the same time; undefined: any number. */
  limit(request: Pick<TurnRequest, 'perNode'>): number | undefined
}

/** Everything starts at once. */
export const noQueue: Turns = { wait: () => Promise.resolve(() => undefined), limit: () => undefined }
