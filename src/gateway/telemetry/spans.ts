import type { Logger } from '../../kernel/log.ts'
import { describeError } from '../../kernel/errors.ts'
import { type OwnSpan, spansAsJson } from '../../buildkit/trace.ts'

/** Sends spans to a collector. Never fails: a trace is not worth a build. */
export interface SpanExporter {
  export(spans: readonly OwnSpan[]): void
}

export interface SpanExporterOptions {
  /** Base address of an OTLP/HTTP collector, e.g. http://collector:4318; as OTEL_EXPORTER_OTLP_ENDPOINT has it. */
  readonly endpoint: string
  readonly logger: Logger
  readonly fetch?: typeof fetch
}

/** Milliseconds for a collector to take spans. */
const patience = 5000
/** Most requests under way: a collector that hangs must not fill our memory. */
const most = 20

export function createSpanExporter({ endpoint, logger, fetch = globalThis.fetch }: SpanExporterOptions): SpanExporter {
  const url = `${endpoint.replace(/\/+$/, '')}/v1/traces`
  let pending = 0
  const send = async (spans: readonly OwnSpan[]): Promise<void> => {
    try {
      const response = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(spansAsJson(spans)),
        signal: AbortSignal.timeout(patience),
      })
      await response.arrayBuffer()
      if (!response.ok) logger.debug({ status: response.status }, 'the collector refused spans')
    } catch (error) {
      logger.debug({ err: describeError(error) }, 'spans were not exported')
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
