import type { Collector } from './collector.ts'
import { type Logger, maskCredentials } from '../../kernel/log.ts'
import { describeError } from '../../kernel/errors.ts'
import { type OwnSpan, spansAsJson } from '../../buildkit/trace.ts'

/** Sends spans to a collector. Never fails: a trace is not worth a build. */
export interface SpanExporter {
  export(spans: readonly OwnSpan[]): void
}

export interface SpanExporterOptions {
  readonly collector: Collector
  readonly logger: Logger
}

/** Milliseconds for a collector to take spans. */
const patience = 5000
/** Most requests under way: a collector that hangs must not fill our memory. */
const most = 20

const fix =
  'Let OTEL_EXPORTER_OTLP_ENDPOINT of the gateways name a port that takes OTLP over HTTP as JSON, usually 4318: 4317 is for gRPC. What a collector wants to see in headers is in OTEL_EXPORTER_OTLP_HEADERS.'

export function createSpanExporter({ collector, logger }: SpanExporterOptions): SpanExporter {
  const { url, headers } = collector
  let pending = 0
  let failing = false
  // One line tells of a collector that is away: every build would have another one.
  const failed = (fields: Record<string, unknown>, message: string): void => {
    if (failing) logger.debug(fields, message)
    else logger.warn({ ...fields, collector: maskCredentials(url), fix }, message)
    failing = true
  }
  const send = async (spans: readonly OwnSpan[]): Promise<void> => {
    try {
      const response = await fetch(url, {
        method: 'POST',
        headers: { ...headers, 'content-type': 'application/json' },
        body: JSON.stringify(spansAsJson(spans)),
        signal: AbortSignal.timeout(patience),
      })
      await response.arrayBuffer()
      if (response.ok) failing = false
      else failed({ status: response.status }, 'the collector refused spans')
    } catch (error) {
      failed({ err: maskCredentials(describeError(error)) }, 'spans were not exported')
    } finally {
      pending--
    }
  }
  return {
    export(spans) {
      if (pending >= most) return
      pending++
      void send(spans)
    },
  }
}
