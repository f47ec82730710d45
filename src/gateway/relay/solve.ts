import { randomBytes } from 'node:crypto'
import { decodeSolve, namedImages, rewriteSolve, type SolveFacts, solveFacts } from '../../buildkit/solve.ts'
import type { SolveRequest } from '../../buildkit/gen/control_pb.ts'
import { describeError, grpcStatus, InsituError } from '../../kernel/errors.ts'
import { frame, readBody, unframe } from '../../kernel/grpc/framing.ts'
import type { Hold } from '../correlate/bindings.ts'
import type { BuildNode } from '../directory/directory.ts'
import { callerNamespace, describeCaller } from '../listener/caller.ts'
import type { Placement } from '../placement/placer.ts'
import { anyNode, namedNode } from './choose.ts'
import type { Build, Call, RelayContext } from './context.ts'
import { proxyOf } from './proxy.ts'
import { pump, type PumpEnd } from './pump.ts'
import { messageLimit } from './tuning.ts'

/**
 * Control/Solve: reads it, finds its node, binds ref and session to that node, rewrites and relays it. The client
 * learns of success after everybody who waits for the images was told.
 */
export async function relaySolve(context: RelayContext, call: Call): Promise<void> {
  const refusal = context.refusing()
  if (refusal !== undefined) throw new InsituError('DRAINING', refusal, { status: 'UNAVAILABLE' })
  const started = performance.now()
  const body = await readBody(call.stream, messageLimit)
  const request = decodeSolve(unframe(body))
  const facts = solveFacts(request)
  const holds: Hold<unknown>[] = []
  let build: Build | undefined
  let outcome: Record<string, unknown> = {}
  try {
    build = await bind(context, call, facts, holds)
    outcome = describeEnd(await relayTo(build, context, call, request, facts, body))
  } catch (error) {
    outcome = { outcome: 'refused', error: describeError(error) }
    throw error
  } finally {
    for (const hold of holds) hold.release()
    if (!facts.probe) {
      const { placement } = build ?? {}
      context.logger.info(
        {
          ref: facts.ref,
          caller: describeCaller(call.caller),
          node: build?.node.name,
          rule: placement?.rule,
          reason: placement?.reason,
          images: facts.images,
          seconds: Math.round(performance.now() - started) / 1000,
          ...outcome,
        },
        'build ended',
      )
    }
  }
}

/** Decides the node once per ref and once per session: builds that share a session must share a daemon. */
async function bind(context: RelayContext, call: Call, facts: SolveFacts, holds: Hold<unknown>[]): Promise<Build> {
  const decide = async (): Promise<{ node: BuildNode; placement: Placement | undefined }> => {
    let placement: Placement | undefined
    const place = async (): Promise<BuildNode> => {
      if (facts.probe) return anyNode(context.directory, call.upstreams.latest())
      placement = await context.placer.place({
        images: facts.images,
        platforms: facts.platforms,
        node: facts.hints.node,
        workload: facts.hints.for,
        namespace: callerNamespace(call.caller),
        cacheKey: facts.cacheKey,
      })
      return namedNode(context.directory, placement.node)
    }
    if (facts.session === '') return { node: await place(), placement }
    const session = await context.sessions.claim(facts.session, place)
    holds.push(session)
    return { node: session.value, placement: placement ?? (facts.probe ? undefined : joined(session.value, facts)) }
  }
  const hold = await context.builds.claim(facts.ref, async () => ({
    ...(await decide()),
    vertex: randomBytes(32),
    placedAt: context.now(),
  }))
  holds.push(hold)
  return hold.value
}

/** The placement of a build whose session is already served by a node. */
function joined(node: BuildNode, facts: SolveFacts): Placement {
  const said = facts.hints.node
  if (said !== undefined && said !== node.name) {
    throw new InsituError(
      'SESSION_ELSEWHERE',
      `insitu.node=${said}, but this client's session is on node ${node.name}`,
      {
        status: 'FAILED_PRECONDITION',
        fix: 'build for different nodes with separate commands',
      },
    )
  }
  return {
    rule: 'said',
    node: node.name,
    targets: [node.name],
    reason: 'more builds of the same client session are there',
  }
}

async function relayTo(
  build: Build,
  context: RelayContext,
  call: Call,
  request: SolveRequest,
  facts: SolveFacts,
  body: Buffer,
): Promise<PumpEnd> {
  const { node, placement } = build
  const proxy = facts.probe ? {} : await proxyOf(context, node)
  const changed = rewriteSolve(request, { defaults: context.config.defaults && !facts.probe, proxy })
  const upstream = await call.upstreams.to(node)
  const ended = facts.probe ? (): void => undefined : context.activity.started(node.name)
  try {
    const response: Buffer[] = []
    return await pump(call.stream, upstream.request(call.raw), {
      body: changed ? frame(changed) : body,
      onData: (chunk) => response.push(chunk),
      beforeTrailers: async (code) => {
        if (code !== grpcStatus.OK || !placement) return
        const images = namedImages(request, unframe(Buffer.concat(response)))
        if (images.length > 0) await context.placer.built(placement, images)
      },
      lost: () => upstream.lost(),
    })
  } finally {
    ended()
  }
}

function describeEnd(end: PumpEnd): Record<string, unknown> {
  switch (end.kind) {
    case 'status':
      return end.code === grpcStatus.OK ? { outcome: 'ok' } : { outcome: 'failed', code: end.code, error: end.message }
    case 'reset':
      return { outcome: end.by === 'client' ? 'cancelled' : 'reset', code: end.code }
    case 'lost':
      return { outcome: 'lost', error: end.error.message }
  }
}
