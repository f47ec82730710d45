import { paths } from '../../buildkit/methods.ts'
import { infoResponse, listWorkersResponse, workerFilter, workerOf, workersOf } from '../../buildkit/workers.ts'
import type { WorkerRecord } from '../../buildkit/gen/control_pb.ts'
import { describeError, InsituError } from '../../kernel/errors.ts'
import { frame, readBody, unframe } from '../../kernel/grpc/framing.ts'
import type { BuildNode } from '../directory/directory.ts'
import { relayWhole } from './build-calls.ts'
import { anyNode, soleNode } from './choose.ts'
import type { Call, RelayContext } from './context.ts'
import { answer } from './end-call.ts'
import { someReturn } from './reach.ts'
import { unaryUpstream } from './unary.ts'

/**
 * Control/ListWorkers: one worker per node, from the nodes' reports; fixed nodes report nothing and are asked. While the only ones are
 * being restarted they are listed as they were: buildx does not begin a build without, and the build would wait for them.
 */
export async function answerWorkers(context: RelayContext, call: Call): Promise<void> {
  const sole = fixed(soleNode(context.directory))
  if (sole) return relayWhole(call, sole)
  const request = await readBody(call.stream, call.messages)
  const matches = workerFilter(unframe(request))
  const ready = context.directory.nodes().filter((node) => node.ready)
  const { remembered } = context
  if (ready.length === 0 && remembered.workers && someReturn(context)) {
    return answer(call.stream, frame(listWorkersResponse(remembered.workers.filter(matches))))
  }
  if (ready.length === 0) anyNode(context.directory, undefined)
  const asked = await Promise.all(
    ready.map(async (node): Promise<readonly WorkerRecord[]> => {
      if (node.report) return [workerOf(node.report)]
      try {
        const upstream = await call.upstreams.to(node)
        return workersOf(node.name, await unaryUpstream(upstream, paths.listWorkers, new Uint8Array(), call.signal))
      } catch (error) {
        context.logger.warn({ node: node.name, err: describeError(error) }, 'a node did not list its workers')
        return []
      }
    }),
  )
  const all = asked.flat()
  if (all.length === 0) {
    const names = ready.map((node) => node.name).join(', ')
    throw new InsituError('NO_NODE', names === '' ? 'no node is ready' : `none of the nodes ${names} answers`, {
      status: 'UNAVAILABLE',
      fix: 'look whether their build daemons run',
    })
  }
  remembered.workers = all
  answer(call.stream, frame(listWorkersResponse(all.filter(matches))))
}

/** Control/Info: the version clients adapt to. */
export async function answerInfo(context: RelayContext, call: Call): Promise<void> {
  const versions = context.directory.nodes().flatMap((n) => (n.ready && n.report ? [n.report.buildkit] : []))
  const { remembered } = context
  if (versions.length > 0) remembered.info = infoResponse(versions)
  else if (!remembered.info || !someReturn(context)) {
    return relayWhole(call, anyNode(context.directory, call.upstreams.latest()))
  }
  await readBody(call.stream, call.messages)
  answer(call.stream, frame(remembered.info))
}

/** TraceService/Export: the client's spans, for the daemon it builds on. Spans of nothing we relayed are dropped. */
export async function relayTrace(context: RelayContext, call: Call): Promise<void> {
  const latest = call.upstreams.latest()
  const node = (latest === undefined ? undefined : context.directory.node(latest)) ?? soleNode(context.directory)
  const spans = unframe(await readBody(call.stream, call.messages))
  if (!node) return answer(call.stream, frame(new Uint8Array()))
  // Clients send their last spans before they end: they should not wait for a daemon that hangs.
  const upstream = await call.upstreams.to(node)
  const response = await unaryUpstream(upstream, paths.traceExport, spans, call.signal)
  answer(call.stream, frame(response))
}

/** Fixed nodes report nothing and are always ready; an agent that has not reported yet is not. */
const fixed = (node: BuildNode | undefined): BuildNode | undefined => (node?.ready && !node.report ? node : undefined)
