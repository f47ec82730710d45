import type { Logger } from '../../kernel/log.ts'
import { createMetrics } from '../../kernel/metrics.ts'
import type { OwnSpan } from '../../buildkit/trace.ts'
import { type BuildRecord, buildSpans, logFields } from './build-record.ts'
import type { SpanExporter } from './spans.ts'

/** What is told of builds and calls: to the log, to Prometheus, to collectors of traces. */
export interface Telemetry {
  /** @returns spans for the daemon, which has the rest of the client's trace. */
  buildEnded(build: BuildRecord): readonly OwnSpan[]
  /** A call ended with an error of ours. */
  failed(code: string): void
  /** A connection to a daemon: counted while it is open, and what it has moved when it is not. */
  opened(connection: Traffic): () => void
  render(): string
}

/** Bytes of a connection so far; absent for what cannot tell. */
export interface Traffic {
  readonly bytesRead?: number
  readonly bytesWritten?: number
}

export interface TelemetryOptions {
  readonly logger: Logger
  /** Builds that run now. */
  readonly running: () => number
  /** Clients that are connected now. */
  readonly clients: () => number
  readonly spans?: SpanExporter | undefined
}

export function createTelemetry({ logger, running, clients, spans }: TelemetryOptions): Telemetry {
  const metrics = createMetrics()
  const open = new Set<Traffic>()
  const past = { read: 0, written: 0 }
  metrics.gauge('insitu_builds_running', 'Builds that run through this gateway now.', running)
  metrics.gauge('insitu_client_connections', 'Clients that are connected.', clients)
  metrics.gauge('insitu_daemon_connections', 'Connections to build daemons.', () => open.size)
  const bytes = (own: 'read' | 'written', key: keyof Traffic) => () =>
    [...open].reduce((sum, one) => sum + (one[key] ?? 0), past[own])
  const moved = 'Bytes between this gateway and the build daemons.'
  metrics.counter('insitu_relay_bytes_total', moved, { direction: 'from_daemon' }, bytes('read', 'bytesRead'))
  metrics.counter('insitu_relay_bytes_total', moved, { direction: 'to_daemon' }, bytes('written', 'bytesWritten'))
  metrics.gauge('process_resident_memory_bytes', 'Resident memory.', () => process.memoryUsage.rss())

  return {
    buildEnded(build) {
      const { outcome } = build.outcome
      const rule = build.rule ?? 'none'
      const fields = logFields(build)
      metrics.count('insitu_builds_total', 'Builds that ended, by outcome and placement rule.', { outcome, rule })
      if (build.rule !== undefined)
        metrics.count('insitu_placements_total', 'Builds that were placed, by rule.', { rule })
      const observe = (name: string, help: string, key: string): void => {
        const value = fields[key]
        if (typeof value === 'number') metrics.observe(name, help, { outcome }, value)
      }
      observe('insitu_build_duration_seconds', 'From Solve to its answer.', 'seconds')
      observe(
        'insitu_build_wait_seconds',
        'From the placement until the build began: queue and connecting.',
        'waitSeconds',
      )
      logger.info(fields, 'build ended')
      const own = buildSpans(build)
      if (own.length > 0) spans?.export(own)
      return own
    },
    failed: (code) =>
      metrics.count('insitu_errors_total', 'Calls that ended with an error of insitu, by its code.', { code }),
    opened(connection) {
      open.add(connection)
      return () => {
        if (!open.delete(connection)) return
        past.read += connection.bytesRead ?? 0
        past.written += connection.bytesWritten ?? 0
      }
    },
    render: () => metrics.render(),
  }
}
