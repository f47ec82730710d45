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
  const hold = await context.builds.claim(facts.ref, async () => ({
    ...(facts.probe ? await bindProbe(context, call, facts, holds) : await bindBuild(context, call, facts, holds)),
    vertex: randomBytes(32),
    placedAt: context.now(),
  }))
  holds.push(hold)
  return hold.value
}

type Bound = Pick<Build, 'node' | 'placement'>

async function bindBuild(context: RelayContext, call: Call, facts: SolveFacts, holds: Hold<unknown>[]): Promise<Bound> {
  const place = (node: string | undefined): Promise<Placement> =>
    context.placer.place({
      images: facts.images,
      platforms: facts.platforms,
      node,
      workload: facts.hints.for,
      namespace: callerNamespace(call.caller),
      cacheKey: facts.cacheKey,
    })
  let placement: Placement | undefined
  const node = await bindSessions(context, facts.sessions, holds, async () => {
    placement = await place(facts.hints.node)
    return namedNode(context.directory, placement.node)
  })
  if (placement) return { node, placement }
  // The client's session is on a node already: that one it is, unless the client said another.
  placement = await place(facts.hints.node)
  if (placement.node === node.name) return { node, placement }
  if (facts.hints.node !== undefined) throw elsewhere(facts.hints.node, node)
  return {
    node,
    placement: { ...(await place(node.name)), reason: 'other builds of the same client session are there' },
  }
}

async function bindProbe(context: RelayContext, call: Call, facts: SolveFacts, holds: Hold<unknown>[]): Promise<Bound> {
  const any = async (): Promise<BuildNode> => anyNode(context.directory, call.upstreams.latest())
  return { node: await bindSessions(context, facts.sessions, holds, any), placement: undefined }
}

/** Binds all sessions of a build to one node: to the one that a session is bound to already, else to what is decided. */
async function bindSessions(
  context: RelayContext,
  sessions: readonly string[],
  holds: Hold<unknown>[],
  decide: () => Promise<BuildNode>,
): Promise<BuildNode> {
  let node: BuildNode | undefined
  for (const id of sessions) {
    const chosen = node
    const session = await context.sessions.claim(id, () => (chosen ? Promise.resolve(chosen) : decide()))
    holds.push(session)
    node ??= session.value
    if (session.value.name !== node.name) throw elsewhere(node.name, session.value)
  }
  return node ?? decide()
}

const elsewhere = (wanted: string, node: BuildNode): InsituError =>
  new InsituError(
    'SESSION_ELSEWHERE',
    `the build should go to node ${wanted}, and a session it needs is on ${node.name}`,
    {
      status: 'FAILED_PRECONDITION',
      fix: 'build for different nodes with separate commands',
    },
  )

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
