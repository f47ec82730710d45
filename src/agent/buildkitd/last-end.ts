import { setTimeout as sleep } from 'node:timers/promises'
import { agentPaths } from '../../api/agent-api.ts'
import type { DaemonEnd } from '../../api/daemon-end.ts'
import { type Handler, sendJson } from '../front/handlers.ts'

export interface LastEnd {
  /** The daemon takes calls again: how the last one ended is of no interest any more. */
  running(): void
  ended(end: DaemonEnd): void
  /** For gateways, whose connections to the daemon have just ended. */
  readonly handler: Handler
}

/** Milliseconds: sockets of a daemon close a moment before its parent learns how it ended. */
const most = 1000

/** Remembers how the daemon ended, from its end until the next one runs. */
export function createLastEnd(): LastEnd {
  let last: DaemonEnd | undefined
  let next = Promise.withResolvers<void>()
  return {
    running() {
      last = undefined
      next = Promise.withResolvers()
    },
    ended(end) {
      last = end
      next.resolve()
    },
    handler: {
      methods: ['GET'],
      path: agentPaths.daemonEnd,
      allow: ['gateway'],
      async handle(_, response) {
        if (!last) await Promise.race([next.promise, sleep(most, undefined, { ref: false })])
        sendJson(response, 200, last ?? {})
      },
    },
  }
}
