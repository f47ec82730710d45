import { randomBytes } from 'node:crypto'
import type { OwnSpan, TraceContext } from '../../buildkit/trace.ts'

/** Everything about one build that an operator asks for, when it has ended. */
export interface BuildRecord {
  readonly ref: string
  readonly caller: string
  /** Program and version, as the client says it. */
  readonly client: string | undefined
  readonly node: string | undefined
  readonly rule: string | undefined
  readonly reason: string | undefined
  readonly targets: readonly string[] | undefined
  readonly images: readonly string[]
  readonly platforms: readonly string[]
  readonly exporters: readonly string[]
  readonly trace: TraceContext | undefined
  readonly started: Date
  /** When its node was decided, when it was sent there. */
  readonly placed: Date | undefined
  readonly begun: Date | undefined
  readonly ended: Date
  readonly outcome: Outcome
}

export interface Outcome {
  readonly outcome: 'ok' | 'failed' | 'cancelled' | 'refused' | 'lost' | 'reset'
  /** gRPC status, or the HTTP/2 code of a reset. */
  readonly code?: number | undefined
  readonly error?: string | undefined
}

const seconds = (from: Date, to: Date): number => Math.max(0, to.getTime() - from.getTime()) / 1000

/** The one line that a build leaves in the gateway's log. */
export function logFields(build: BuildRecord): Record<string, unknown> {
  const { started, placed, begun, ended, trace, outcome, ...rest } = build
  return {
    ...rest,
    traceId: trace?.traceId,
    // Until its node was known, in the queue and connecting, and in all.
    placeSeconds: placed && seconds(started, placed),
    waitSeconds: placed && begun && seconds(placed, begun),
    seconds: seconds(started, ended),
    ...outcome,
  }
}

/** Spans below the client's: the whole build as the gateway saw it, and what happened before it began on its node. */
export function buildSpans(build: BuildRecord): OwnSpan[] {
  const { trace, started, begun, ended, outcome } = build
  if (!trace) return []
  const spanId = randomBytes(8).toString('hex')
  const attributes = Object.fromEntries(
    Object.entries({
      'insitu.ref': build.ref,
      'insitu.node': build.node,
      'insitu.rule': build.rule,
      'insitu.reason': build.reason,
      'insitu.outcome': outcome.outcome,
    }).filter((entry): entry is [string, string] => entry[1] !== undefined),
  )
  const { traceId } = trace
  return [
    { ...trace, spanId, name: 'insitu build', start: started, end: ended, attributes, error: outcome.error },
    {
      ...{ traceId, parentId: spanId, spanId: randomBytes(8).toString('hex'), name: 'insitu place and queue' },
      ...{ start: started, end: begun ?? ended, attributes },
    },
  ]
}
