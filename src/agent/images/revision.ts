import type { Arrival } from './record.ts'

export interface Revision {
  /** Another number with every change of the list. */
  readonly current: number
  /** The one that the node's report shows. */
  readonly reported: number
  /** The list has changed. @param arrival by an image that came. */
  change(arrival?: Arrival): void
  stop(): void
}

/**
 * The number of a node's list of built images. A report is a write to the API server, at a moment when pods are about
 * to start: it waits for more to come when the image is one that another node has too, so that gateways know of it.
 *
 * @param onReported is told when the report shows another number.
 * @param gather milliseconds that such images are waited for. Default 1,000.
 */
export function createRevision(onReported: () => void, gather = 1000): Revision {
  // From the clock, so that it is another one than before a restart.
  let current = Date.now()
  let reported = current
  let timer: NodeJS.Timeout | undefined
  const stop = (): void => {
    clearTimeout(timer)
    timer = undefined
  }
  const report = (): void => {
    stop()
    reported = current
    onReported()
  }
  return {
    get current() {
      return current
    },
    get reported() {
      return reported
    },
    change(arrival) {
      current += 1
      if (arrival === 'delivered') timer ??= setTimeout(report, gather).unref()
      else report()
    },
    stop,
  }
}
