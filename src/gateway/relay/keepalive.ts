import type { Http2Connection } from '../http2/connection.ts'

type Watched = Pick<Http2Connection, 'lastRead' | 'ping' | 'destroy' | 'once'>

export interface KeepaliveOptions {
  /** Milliseconds without a byte from the client after which it is asked for one; 0: never. */
  readonly idle: number
  /** Milliseconds it has to answer. */
  readonly answer: number
  readonly now?: () => number
}

/**
 * PINGs to clients that are silent: a proxy in between sees that the connection is used, and a client that is gone is
 * noticed. Daemons get none, buildkitd would end the connection (GOAWAY too_many_pings). One timer looks after all.
 */
export function createKeepalive({ idle, answer, now = () => performance.now() }: KeepaliveOptions): {
  watch(connection: Watched): void
} {
  /** When the unanswered PING left. */
  const asked = new Map<Watched, number | undefined>()
  let timer: NodeJS.Timeout | undefined

  const look = (): void => {
    const time = now()
    for (const [connection, since] of asked) {
      const answered = since === undefined || connection.lastRead >= since
      if (answered && time - connection.lastRead >= idle) {
        asked.set(connection, time)
        connection.ping()
      } else if (answered) {
        if (since !== undefined) asked.set(connection, undefined)
      } else if (time - since >= answer) {
        connection.destroy(new Error('the client does not answer'))
      }
    }
  }

  return {
    watch(connection) {
      if (idle <= 0) return
      asked.set(connection, undefined)
      timer ??= setInterval(look, Math.max(10, Math.min(idle, answer) / 5)).unref()
      connection.once('close', () => {
        asked.delete(connection)
        if (asked.size > 0) return
        clearInterval(timer)
        timer = undefined
      })
    },
  }
}
