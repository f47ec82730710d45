import { create, toBinary } from '@bufbuild/protobuf'
import { ExportTraceServiceRequestSchema } from './gen/trace_pb.ts'

/** Where a call belongs in its client's trace. https://www.w3.org/TR/trace-context/ */
export interface TraceContext {
  /** 32 hexadecimal digits. */
  readonly traceId: string
  /** 16 hexadecimal digits: the client's span. */
  readonly parentId: string
}

/** Metadata that carries it. */
export const traceHeader = 'traceparent'

/** @returns undefined for a call without a trace, for one nobody records, and for text that is none. */
export function parseTrace(text: string | undefined): TraceContext | undefined {
  const match = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})/.exec(text ?? '')
  const [, traceId = '', parentId = '', flags = ''] = match ?? []
  const sampled = (Number.parseInt(flags, 16) & 1) === 1
  return sampled && !/^0+$/.test(traceId) && !/^0+$/.test(parentId) ? { traceId, parentId } : undefined
}

/** A span of ours. */
export interface OwnSpan extends TraceContext {
  /** 16 hexadecimal digits. */
  readonly spanId: string
  readonly name: string
  readonly start: Date
  readonly end: Date
  readonly attributes: Readonly<Record<string, string>>
  /** Why it failed. */
  readonly error?: string | undefined
}

const resource = { attributes: [{ key: 'service.name', value: { stringValue: 'insitu-gateway' } }] }
const scope = { name: 'insitu' }

const nanoseconds = (at: Date): bigint => BigInt(at.getTime()) * 1_000_000n

const parts = (span: OwnSpan) => ({
  name: span.name,
  kind: 2,
  attributes: Object.entries(span.attributes).map(([key, stringValue]) => ({ key, value: { stringValue } })),
  status: span.error === undefined ? { code: 1 } : { code: 2, message: span.error },
})

const request = <Span>(spans: readonly Span[]) => ({
  resourceSpans: [{ resource, scopeSpans: [{ scope, spans: [...spans] }] }],
})

/** For TraceService/Export of a daemon. */
export const encodeSpans = (spans: readonly OwnSpan[]): Uint8Array => {
  const encoded = spans.map((span) => ({
    ...parts(span),
    traceId: Buffer.from(span.traceId, 'hex'),
    spanId: Buffer.from(span.spanId, 'hex'),
    parentSpanId: Buffer.from(span.parentId, 'hex'),
    startTimeUnixNano: nanoseconds(span.start),
    endTimeUnixNano: nanoseconds(span.end),
  }))
  return toBinary(ExportTraceServiceRequestSchema, create(ExportTraceServiceRequestSchema, request(encoded)))
}

/** For a collector: OTLP's JSON, which writes ids in hexadecimal, https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding. */
export const spansAsJson = (spans: readonly OwnSpan[]): object =>
  request(
    spans.map((span) => ({
      ...parts(span),
      traceId: span.traceId,
      spanId: span.spanId,
      parentSpanId: span.parentId,
      startTimeUnixNano: String(nanoseconds(span.start)),
      endTimeUnixNano: String(nanoseconds(span.end)),
    })),
  )
