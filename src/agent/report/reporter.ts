import { isDeepStrictEqual } from 'node:util'
import type { NodeReport } from '../../api/node-report.ts'
import { describeError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'

export interface ReporterOptions {
  /** Delivers a report; may fail and is then tried again. */
  readonly send: (report: NodeReport) => Promise<void> | void
  readonly log: Logger
  /** Milliseconds during which changes are gathered. Default 50. */
  readonly gather?: number
  /** Milliseconds before a failed delivery is tried again. Default 5,000. */
  readonly retry?: number
}

export interface Reporter {
  update(report: NodeReport): void
  /** Delivers what is waiting, once, and ends. */
  close(): Promise<void>
}

/** Delivers each change of a report, one at a time, the newest state only, until it has arrived. */
export function createReporter(options: ReporterOptions): Reporter {
  let wanted: NodeReport | undefined
  let delivered: NodeReport | undefined
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> | undefined
  let closed = false

  const schedule = (delay: number): void => {
    if (closed || timer || running) return
    timer = setTimeout(() => {
      timer = undefined
      running = round()
    }, delay)
    timer.unref()
  }

  const round = async (): Promise<void> => {
    const ok = await deliver()
    running = undefined
    if (!isDeepStrictEqual(wanted, delivered)) schedule(ok ? 0 : (options.retry ?? 5000))
  }

  const deliver = async (): Promise<boolean> => {
    const report = wanted
    if (!report || isDeepStrictEqual(report, delivered)) return true
    try {
      await options.send(report)
      delivered = report
      return true
    } catch (error) {
      options.log.warn({ err: describeError(error) }, 'the report could not be delivered')
      return false
    }
  }

  return {
    update(report) {
      wanted = report
      if (!isDeepStrictEqual(report, delivered)) schedule(options.gather ?? 50)
    },
    async close() {
      closed = true
      clearTimeout(timer)
      await running
      await deliver()
    },
  }
}
