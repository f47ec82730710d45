import { decodeBounded } from '../../buildkit/decode.ts'
import {
  type BuildHistoryRecord,
  type SolveRequest,
  type SolveResponse,
  SolveResponseSchema,
} from '../../buildkit/gen/control_pb.ts'
import { namedImages, needsRecord } from '../../buildkit/named-images.ts'
import { decodeSolve, encodeSolve, rewriteSolve, type SolveFacts, solveFacts } from '../../buildkit/solve.ts'
import { sessionsOfSolve } from '../../buildkit/named-sessions.ts'
import { describeError, grpcStatus, InsituError } from '../../kernel/errors.ts'
import { frame, unframe } from '../../kernel/grpc/framing.ts'
import { statusOf } from '../../kernel/grpc/status.ts'
import type { Hold } from '../correlate/bindings.ts'
import { endedRecord } from '../history/ended-record.ts'
import { checkForeignRef } from '../history/foreign-ref.ts'
import type { BuildInProgress } from '../images/in-progress.ts'
import { identityOf } from '../listener/caller.ts'
import { solveParts } from '../split/solve-parts.ts'
import type { Outcome } from '../telemetry/build-record.ts'
import { sayEnd } from './say-end.ts'
import { baseHint } from './base-hint.ts'
import { askPolicy, type Asked } from './admit.ts'
import { bindBuild, bindToOne } from './bind.ts'
import type { Build, Call, RelayContext } from './context.ts'
import { claimSession } from './owner.ts'
import { proxyOf, sayProvenance, sayUnreachable } from './proxy.ts'
import { isRootless } from './choose.ts'
import { reach } from './reach.ts'
import { readMessage } from './read-message.ts'
import { pump, type PumpEnd } from './pump.ts'
import type { Upstream } from './upstream.ts'
import { waitForTurn } from './wait-turn.ts'

/**
 * Control/Solve: reads it, finds its node, binds ref and session to that node, rewrites and relays it. The client
 * learns of success after everybody who waits for the images was told.
 */
export async function relaySolve(context: RelayContext, call: Call): Promise<void> {
  const started = context.now()
  let placed: Date | undefined
  let begun: Date | undefined
  const asked = askPolicy(context, call, await readMessage(call, decodeSolve))
  const { request } = asked
  const facts = solveFacts(request)
  const holds: Hold<unknown>[] = []
  let build: Build | undefined
  let outcome: Outcome = { outcome: 'refused' }
  let before: BuildInProgress | undefined
  try {
    for (const id of sessionsOfSolve(request)) holds.push(claimSession(context, call, id))
    build = await bindBuild(context, call, request, facts, holds, asked)
    placed = context.now()
    const onBegun = (): void => void (begun = context.now())
    const { split } = build
    let end = split && (await solveParts(context, call, { build, split, request, onBegun }))
    if (end?.kind === 'fallback') {
      before = end.inProgress
      build = await bindToOne(context, call, build, { request, facts, asked, holds })
      const own = { ...asked, request: { ...request, ref: build.ref ?? request.ref } }
      end = await relayTo(build, context, call, own, facts, onBegun, before)
    } else {
      end ??= await relayTo(build, context, call, asked, facts, onBegun)
    }
    outcome = describeEnd(end)
  } catch (error) {
    outcome = { outcome: 'refused', error: describeError(error) }
    before?.ended(describeError(error))
    build?.begun.reject(error)
    build?.fallback?.build.reject(error)
    throw error
  } finally {
    build?.begun.reject(cancelled())
    build?.fallback?.build.reject(cancelled())
    build?.progress.end()
    for (const hold of holds) hold.release()
    if (!facts.probe) sayEnd(context, call, { request, facts, build, started, placed, begun, outcome })
  }
}

/** buildx sends neither exporter nor name when it is told neither `-o` nor `--push`, and only warns. */
const keepHint = '[insitu] nothing is kept but the build cache; to keep the image: -o type=image,name=NAME'

/** What a daemon says of a ref that it has a build of: BuildKit v0.33.1, solver/jobs.go. */
const refTaken = (ref: string): string => `job ID ${ref} exists`

/** @param before what those who wait for the names have waited for so far: it ends without a moment between. */
async function relayTo(
  build: Build,
  context: RelayContext,
  call: Call,
  asked: Asked,
  facts: SolveFacts,
  onBegun: () => void,
  before?: BuildInProgress,
): Promise<PumpEnd> {
  const { node, placement } = build
  const { request } = asked
  // From here on, not only once its daemon is reached: a gateway that stops waits for it.
  const ended = facts.probe ? (): void => undefined : context.activity.started(node.name)
  let release = (): void => undefined
  let failure: string | undefined = 'it was given up'
  const inProgress = placement && context.images?.begin(facts.images)
  before?.ended('it was given up')
  try {
    if (!facts.probe) release = await waitForTurn(context, call, build)
    const proxy = await proxyOf(context, build)
    sayProvenance(build, proxy, request)
    if (!facts.probe) sayUnreachable(build, proxy)
    const changed = rewriteSolve(request, {
      // Unpacking and uncompressed layers are for a kubelet beside the daemon.
      defaults: context.config.defaults && !facts.probe && !isRootless(node),
      proxy,
      owner: context.config.recordOwner && !facts.probe ? identityOf(call.caller) : undefined,
    })
    const upstream = facts.probe ? await call.upstreams.to(node) : await reach(call, node)
    if (!facts.probe) await checkForeignRef(context, call, upstream, request.ref)
    build.begun.resolve()
    onBegun()
    inProgress?.placed(node.name)
    const response: Buffer[] = []
    const end = await pump(call.stream, upstream.request(call.raw), {
      // Anew even if nothing is changed: in the client's own bytes the daemon could read another ref, session or name.
      body: frame(changed ?? encodeSolve(request)),
      onData: (chunk) => response.push(chunk),
      beforeTrailers: async (code, message) => {
        try {
          release()
          // It is another's, who was first at the daemon: nobody may ask here for more of it.
          if (message?.includes(refTaken(request.ref)) && build.solve === call.signal) context.builds.forget(facts.ref)
          if (code !== grpcStatus.OK) return sayMissingBase(build, context, message)
          if (placement && !facts.exports) build.progress.step(keepHint).done()
          const answer = decodeBounded(SolveResponseSchema, unframe(Buffer.concat(response)))
          const error = await imagesBuilt(build, context, call, { request, answer, upstream }, inProgress)
          return error && statusOf(error)
        } finally {
          build.progress.end()
        }
      },
      lost: () => upstream.whyLost(),
    })
    failure = failureOf(end)
    return end
  } catch (error) {
    failure = describeError(error)
    throw error
  } finally {
    inProgress?.ended(failure)
    release()
    ended()
  }
}

function sayMissingBase({ node, placement, progress }: Build, { images }: RelayContext, message: string): undefined {
  const hint = placement && images && baseHint(message, node.name, (name) => images.holders(name))
  if (hint !== undefined) progress.step(hint).done()
}

/** A build as its daemon has ended it. */
interface Answered {
  readonly request: SolveRequest
  readonly answer: SolveResponse
  readonly upstream: Upstream
}

/** Everybody who waits for the images is told, and the nodes that want them get them. */
async function imagesBuilt(
  { node, placement, delivery: wish, progress }: Build,
  { placer, images }: RelayContext,
  { signal }: Call,
  { request, answer, upstream }: Answered,
  inProgress: BuildInProgress | undefined,
): Promise<InsituError | undefined> {
  if (!placement) return undefined
  const { ref } = request
  const told = images && inProgress && !isRootless(node)
  let record: BuildHistoryRecord | undefined
  try {
    if (told && needsRecord(request)) record = await endedRecord(upstream, ref, signal)
  } catch (error) {
    return signal.aborted ? undefined : unrecorded(node.name, error)
  }
  const named = namedImages(request, answer, record)
  if (named.size === 0) return undefined
  // A pushed image: pods of this node may wait for it all the same.
  if (!told) {
    await placer.built(placement, [...named.keys()])
    return undefined
  }
  return images.finish({ node: node.name, placed: placement.targets, named, ref, wish, progress, signal }, inProgress)
}

const unrecorded = (node: string, cause: unknown): InsituError =>
  new InsituError('IMAGE_UNRECORDED', `the daemon of node ${node} does not say which image has which name`, {
    status: 'UNAVAILABLE',
    fix: 'run the build again: nodes may not get its images',
    cause,
  })

const failureOf = (end: PumpEnd): string | undefined => {
  if (end.kind === 'status') return end.code === grpcStatus.OK ? undefined : (end.message ?? 'it failed')
  return end.kind === 'lost' ? end.error.message : 'it was given up'
}

const cancelled = (): InsituError =>
  new InsituError('CANCELLED', 'the build was given up before it began', { status: 'CANCELLED' })

function describeEnd(end: PumpEnd): Outcome {
  switch (end.kind) {
    case 'status':
      return end.code === grpcStatus.OK ? { outcome: 'ok' } : { outcome: 'failed', code: end.code, error: end.message }
    case 'reset':
      return { outcome: end.by === 'client' ? 'cancelled' : 'reset', code: end.code }
    case 'lost':
      return { outcome: 'lost', error: end.error.message }
  }
}
