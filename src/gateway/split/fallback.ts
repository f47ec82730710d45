import { create, toBinary } from '@bufbuild/protobuf'
import { UpdateBuildHistoryRequestSchema } from '../../buildkit/gen/control_pb.ts'
import { ReturnErrorSchema, ReturnRequestSchema } from '../../buildkit/gen/gateway_pb.ts'
import { buildIdHeader, paths } from '../../buildkit/methods.ts'
import { grpcStatus, InsituError } from '../../kernel/errors.ts'
import { frame } from '../../kernel/grpc/framing.ts'
import type { Build, Call, Fallback } from '../relay/context.ts'
import { unaryUpstream } from '../relay/unary.ts'
import { DaemonRefusal, exchange } from './exchange.ts'
import type { BuildPart } from './split-build.ts'

export function createFallback(): Fallback {
  const controller = new AbortController()
  const build = Promise.withResolvers<Build>()
  // Nobody may be waiting when it is sure that it is not needed.
  build.promise.catch(() => undefined)
  return {
    taken: controller.signal,
    take: () => controller.abort(new Error('one node builds all of it')),
    build,
  }
}

/** The build that calls of a client are for now: after the way back, the one of a single node. */
export async function presentBuild(build: Build): Promise<Build> {
  const { fallback } = build
  return fallback?.taken.aborted === true ? fallback.build.promise : build
}

/**
 * One node builds all of it from now on.
 * @throws InsituError SPLIT when parts of it are built already; what the new placement throws.
 */
export async function fallBack(build: Build): Promise<Build> {
  const { split, fallback } = build
  if (!split || !fallback) return build
  if (split.results.begun) throw combines()
  fallback.take()
  return fallback.build.promise
}

export const combines = (): InsituError =>
  new InsituError(
    'SPLIT',
    'the client has had its platforms built on several nodes, and now puts something together that one of them has to build',
    { status: 'FAILED_PRECONDITION', fix: 'choose the node with insitu.node' },
  )

/** What is known of a part's Solve. */
interface PartSolve {
  readonly call: Call
  readonly ref: string
  readonly part: BuildPart
  readonly signal: AbortSignal
}

/**
 * Makes a part's Solve, and ends it when one node is to build all of it.
 * @param ask makes the call until its signal aborts.
 * @returns undefined where it was ended that way.
 */
export async function unlessTaken(
  fallback: Fallback | undefined,
  ask: (signal: AbortSignal) => Promise<Buffer>,
  solve: PartSolve,
): Promise<Buffer | undefined> {
  if (!fallback) return ask(solve.signal)
  const { taken } = fallback
  const deaf = new AbortController()
  const ended = ask(AbortSignal.any([solve.signal, deaf.signal]))
  const giveUp = (): void => {
    giveUpPart(solve).catch((error: unknown) => deaf.abort(error instanceof Error ? error : new Error('no answer')))
  }
  if (taken.aborted) giveUp()
  else taken.addEventListener('abort', giveUp, { once: true })
  try {
    return await ended
  } catch (error) {
    if (!taken.aborted || solve.signal.aborted) throw error
    if (!deaf.signal.aborted && !(error instanceof DaemonRefusal)) throw error
    // It was none that anybody wants to read about later.
    await forget(solve).catch(() => undefined)
    return undefined
  } finally {
    taken.removeEventListener('abort', giveUp)
  }
}

/** Milliseconds; a daemon that does not end a build by then is asked no more. */
const patience = 10_000

/** Ends what a part's daemon has begun, in the way of a client that drives its build. */
async function giveUpPart({ call, ref, part, signal }: PartSolve): Promise<void> {
  const error = toBinary(
    ReturnErrorSchema,
    create(ReturnErrorSchema, { code: grpcStatus.CANCELLED, message: 'insitu builds all platforms on one node' }),
  )
  const message = toBinary(ReturnRequestSchema, create(ReturnRequestSchema, { error }))
  const raw = [
    ...[':method', 'POST', ':scheme', 'http', ':authority', 'localhost', ':path', paths.bridgeReturn],
    ...['content-type', 'application/grpc', 'te', 'trailers', buildIdHeader, ref],
  ]
  const upstream = await call.upstreams.to(part.node)
  await exchange(upstream, raw, frame(message), AbortSignal.any([signal, AbortSignal.timeout(patience)]))
}

async function forget({ call, ref, part, signal }: PartSolve): Promise<void> {
  const message = create(UpdateBuildHistoryRequestSchema, { ref, delete: true })
  const upstream = await call.upstreams.to(part.node)
  await unaryUpstream(upstream, paths.updateBuildHistory, toBinary(UpdateBuildHistoryRequestSchema, message), signal)
}
