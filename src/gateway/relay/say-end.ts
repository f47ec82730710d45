import { effectiveExporters } from '../../buildkit/exporters.ts'
import type { SolveRequest } from '../../buildkit/gen/control_pb.ts'
import { paths } from '../../buildkit/methods.ts'
import type { SolveFacts } from '../../buildkit/solve.ts'
import { encodeSpans, parseTrace, traceHeader } from '../../buildkit/trace.ts'
import { describeError } from '../../kernel/errors.ts'
import { describeCaller } from '../listener/caller.ts'
import type { Outcome } from '../telemetry/build-record.ts'
import type { Build, Call, RelayContext } from './context.ts'
import { header } from './headers.ts'
import { unaryUpstream } from './unary.ts'

export interface Ended {
  readonly request: SolveRequest
  readonly facts: SolveFacts
  readonly build: Build | undefined
  readonly started: Date
  readonly placed: Date | undefined
  readonly begun: Date | undefined
  readonly outcome: Outcome
}

/** Tells log, metrics and traces how a build went. */
export function sayEnd(context: RelayContext, call: Call, ended: Ended): void {
  const { request, facts, build, started, placed, begun, outcome } = ended
  const { placement } = build ?? {}
  const spans = context.telemetry.buildEnded({
    ref: facts.ref,
    caller: describeCaller(call.caller),
    client: header(call.raw, 'user-agent'),
    node: build?.node.name,
    rule: placement?.rule,
    reason: placement?.reason,
    targets: placement?.targets,
    images: facts.images,
    platforms: facts.platforms,
    exporters: effectiveExporters(request).map(({ type }) => type),
    trace: parseTrace(header(call.raw, traceHeader)),
    started,
    placed,
    begun,
    ended: context.now(),
    outcome,
  })
  // The client's answer leaves first.
  if (build && begun && spans.length > 0) setImmediate(() => void sendSpans(context, call, build, encodeSpans(spans)))
}

/** The daemon collects the client's spans, and shows them in its history: ours belong there. */
async function sendSpans(context: RelayContext, call: Call, { node }: Build, spans: Uint8Array): Promise<void> {
  try {
    const upstream = await call.upstreams.to(node, true)
    await unaryUpstream(upstream, paths.traceExport, spans, context.ending)
  } catch (error) {
    context.logger.debug({ node: node.name, err: describeError(error) }, 'the daemon took no spans')
  }
}
