import { once } from 'node:events'
import { buildIdHeader, paths } from '../../buildkit/methods.ts'
import type { SolveRequest as BridgeSolveRequest } from '../../buildkit/gen/gateway_pb.ts'
import { asksForSource, readSourceQuestion, sessionsOfBridgeSolve } from '../../buildkit/named-sessions.ts'
import { decodeBridgeSolve, rewriteBridgeSolve } from '../../buildkit/solve.ts'
import { statusRef, statusRequest } from '../../buildkit/workers.ts'
import { grpcStatus, InsituError } from '../../kernel/errors.ts'
import { frame, messageCutter, readBody, unframe } from '../../kernel/grpc/framing.ts'
import type { Hold } from '../correlate/bindings.ts'
import type { BuildNode } from '../directory/directory.ts'
import { runningBuild } from '../history/past.ts'
import type { Http2Stream } from '../http2/stream.ts'
import { createProgress, type Progress } from '../progress/progress.ts'
import { fallBack, presentBuild } from '../split/fallback.ts'
import {
  isAboutRef,
  isForAllParts,
  isFromParts,
  partOf,
  relaySplitBridgeSolve,
  relaySplitReturn,
} from '../split/relay-bridge.ts'
import { relaySplitStatus } from '../split/relay-status.ts'
import { soleNode } from './choose.ts'
import type { Build, Call, RelayContext } from './context.ts'
import { openAnswer } from './end-call.ts'
import { soleHeader, withHeader } from './headers.ts'
import { relayExec } from './exec-process.ts'
import { bridgeProxy } from './proxy.ts'
import { checkOwner, withSessions } from './owner.ts'
import { answerPing, relayPing } from './ping.ts'
import { pump } from './pump.ts'
import { readMessage } from './read-message.ts'
import { checkQuestion } from './question.ts'
import { patience } from './tuning.ts'

/**
 * Control/Status: the progress of a build, with steps of our own between the daemon's messages. It is open from the
 * placement, before the daemon knows of the build, until Solve is answered.
 */
export async function relayStatus(context: RelayContext, call: Call): Promise<void> {
  const ref = statusRef(unframe(await readBody(call.stream, call.messages)))
  // Anew: in the client's own bytes the daemon could read another ref.
  const body = frame(statusRequest(ref))
  const single = transparent(context, call)
  const decided = single ? context.builds.wait(ref, patience, call.signal) : runningBuild(context, call, ref, body)
  const hold = await (context.config.statusVertex ? sayingThatItWaits(call.stream, decided) : decided)
  if (call.signal.aborted || (!hold && !single)) return hold?.release()
  let stop = (): void => undefined
  try {
    checkOwner(context, call, hold?.value)
    const node = nodeOf(context, call, hold, ref)
    const build = context.config.statusVertex && hold?.value.placement ? hold.value : undefined
    if (build) stop = showProgress(build.progress, call.stream)
    if (!(await begins(hold?.value, call.signal))) return
    if (hold?.value.split) return await relaySplitStatus(call, hold.value, hold.value.split, ref)
    const upstream = await call.upstreams.to(node)
    await pump(call.stream, upstream.request(call.raw), {
      body,
      ...(build ? { cut: messageCutter(), beforeTrailers: endOf(build) } : {}),
      lost: () => upstream.whyLost(),
    })
  } finally {
    stop()
    hold?.release()
  }
}

/** LLBBridge: what a client that drives its build itself asks the daemon. Options for frontends are rewritten. */
export async function relayBridge(context: RelayContext, call: Call, kind: 'bridge' | 'bridge-solve'): Promise<void> {
  const id = soleHeader(call.raw, buildIdHeader)
  if (id === undefined) {
    throw new InsituError('BUILD_UNNAMED', `the call has no ${buildIdHeader}`, { status: 'INVALID_ARGUMENT' })
  }
  const pings = call.path === paths.bridgePing
  const decided = context.builds.wait(id, patience, call.signal)
  if (pings && (await answeredWhileItWaits(context, call, decided))) return
  const hold = await decided
  if (call.signal.aborted) return hold?.release()
  try {
    checkOwner(context, call, hold?.value)
    const build = hold && (await presentBuild(hold.value))
    const node = build?.node ?? nodeOf(context, call, hold, id)
    if (!(await begins(build, call.signal))) return
    const own = atDaemon(call, build)
    if (kind === 'bridge-solve') {
      const asked = await readMessage(call, decodeBridgeSolve)
      checkQuestion(build, call.path, asked)
      const solve = (): Promise<void> => relayBridgeSolve(context, own, build, node, asked)
      return await withSessions(context, call, sessionsOfBridgeSolve(asked), solve)
    }
    checkQuestion(build, call.path)
    if (asksForSource(call.path)) return await relaySourceQuestion(context, own, node)
    if (call.path === paths.bridgeReturn) return await relayReturn(context, own, build, node)
    if (call.path === paths.bridgeExec && build?.placement) return await relayExec(context, own, build)
    if (build?.split && isAboutRef(call.path)) {
      const body = await readBody(call.stream, call.messages)
      return await relayBody(own, partOf(unframe(body), build.split)?.node ?? node, body)
    }
    await (pings ? relayPing(context, own, node) : relayWhole(own, node))
  } finally {
    hold?.release()
  }
}

/** Answers a Ping, unless the daemon of its build can be asked before clients lose their patience. */
async function answeredWhileItWaits(
  context: RelayContext,
  call: Call,
  decided: Promise<Hold<Build> | undefined>,
): Promise<boolean> {
  let build: Build | undefined
  const begun = decided.then((hold) => {
    checkOwner(context, call, hold?.value)
    build = hold?.value
    return begins(build, call.signal)
  })
  // Also for a client that has gone; who relays the call releases it.
  let ours = true
  try {
    ours = await answerPing(context, call, begun, () => build)
    return ours
  } finally {
    if (ours) {
      void decided.then(
        (hold) => hold?.release(),
        () => undefined,
      )
    }
  }
}

/** The call as the daemon knows its build. */
const atDaemon = (call: Call, build: Build | undefined): Call =>
  build?.ref === undefined ? call : { ...call, raw: withHeader(call.raw, buildIdHeader, build.ref) }

async function relayBridgeSolve(
  context: RelayContext,
  call: Call,
  found: Build | undefined,
  node: BuildNode,
  asked: BridgeSolveRequest,
): Promise<void> {
  let build = found
  if (build?.split) {
    const { split } = build
    if (isForAllParts(asked, split)) return relaySplitBridgeSolve(context, call, { build, split }, asked)
    build = await fallBack(build)
    if (!(await begins(build, call.signal))) return
  }
  const ours = build?.placement ? build : undefined
  const admitted = context.admission.bridgeSolve(call.caller, asked)
  const own = rewriteBridgeSolve(admitted, {
    defaults: ours !== undefined && context.config.defaults,
    proxy: ours && (await bridgeProxy(context, ours)),
  })
  await relayBody(atDaemon(call, build), build?.node ?? node, frame(own))
}

/** LLBBridge/ResolveSourceMeta and ResolveImageConfig: the source may be in a session. */
async function relaySourceQuestion(context: RelayContext, call: Call, node: BuildNode): Promise<void> {
  const asked = readSourceQuestion(call.path, unframe(await readBody(call.stream, call.messages)))
  await withSessions(context, call, asked.sessions, () => relayBody(call, node, frame(asked.message)))
}

/** LLBBridge/Return: the result of a build that the client drives, with metadata that exporters read. */
async function relayReturn(
  context: RelayContext,
  call: Call,
  found: Build | undefined,
  node: BuildNode,
): Promise<void> {
  const body = await readBody(call.stream, call.messages)
  let build = found
  if (build?.split) {
    if (isFromParts(unframe(body), build.split)) return relaySplitReturn(context, call, build.split, body)
    build = await fallBack(build)
    if (!(await begins(build, call.signal))) return
  }
  const admitted = context.admission.bridgeReturn(call.caller, unframe(body))
  await relayBody(atDaemon(call, build), build?.node ?? node, frame(admitted))
}

/** @param body framed. */
async function relayBody(call: Call, node: BuildNode, body: Uint8Array): Promise<void> {
  const upstream = await call.upstreams.to(node)
  await pump(call.stream, upstream.request(call.raw), { body, lost: () => upstream.whyLost() })
}

/** Relays a call byte for byte. */
export async function relayWhole(call: Call, node: BuildNode): Promise<void> {
  const upstream = await call.upstreams.to(node)
  await pump(call.stream, upstream.request(call.raw), { lost: () => upstream.whyLost() })
}

/** The daemon is done before we are; only a Status that failed has nothing to wait for. */
const endOf =
  (build: Build) =>
  (code: number): Promise<void> =>
    code === grpcStatus.OK ? build.progress.ended : Promise.resolve()

/** Says in a build's progress that it has no node yet, where that takes longer than a look for builds nobody knows. */
async function sayingThatItWaits<T>(stream: Http2Stream, decided: Promise<T>): Promise<T> {
  let stop = (): void => undefined
  const timer = setTimeout(() => {
    if (stream.headersSent) return
    const progress = createProgress()
    progress.step('[insitu] waiting for a node to be ready')
    const unfollow = showProgress(progress, stream)
    stop = () => {
      progress.end()
      unfollow()
    }
  }, 2 * patience)
  try {
    return await decided
  } finally {
    clearTimeout(timer)
    stop()
  }
}

/** Opens the answer of a Status call with our own steps. Whatever else is written to it must be whole messages. */
function showProgress(progress: Progress, stream: Http2Stream): () => void {
  openAnswer(stream)
  return progress.follow((message) => {
    if (!stream.destroyed && !stream.closed && !stream.writableEnded) stream.write(frame(message))
  })
}

/**
 * Waits until the daemon is asked to build: it would tell who asks before that, that it knows nothing of the build.
 * @returns false when the caller is gone.
 * @throws why the build never begins.
 */
async function begins(build: Build | undefined, signal: AbortSignal): Promise<boolean> {
  if (!build || signal.aborted) return !signal.aborted
  const gone = new AbortController()
  const left = once(signal, 'abort', { signal: gone.signal }).catch(() => undefined)
  await Promise.race([build.begun.promise, left]).finally(() => gone.abort(new Error('it is settled')))
  return !signal.aborted
}

/** Where there is one node only, and no owners, it also knows builds that ended long ago or came by another way. */
const transparent = (context: RelayContext, call: Call): BuildNode | undefined =>
  context.config.recordOwner || !context.admission.administrator(call.caller) ? undefined : soleNode(context.directory)

function nodeOf(context: RelayContext, call: Call, hold: Hold<Build> | undefined, ref: string): BuildNode {
  const node = hold?.value.node ?? transparent(context, call)
  if (node) return node
  throw new InsituError('BUILD_UNKNOWN', `this gateway knows no running build ${ref}`, { status: 'NOT_FOUND' })
}
