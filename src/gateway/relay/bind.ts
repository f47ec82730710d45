import type { SolveRequest } from '../../buildkit/gen/control_pb.ts'
import { checkImageNames, type SolveFacts, solveHints } from '../../buildkit/solve.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { Hold } from '../correlate/bindings.ts'
import type { BuildNode } from '../directory/directory.ts'
import { callerNamespace } from '../listener/caller.ts'
import { type DeliveryWish, readDelivery } from '../delivery/targets.ts'
import type { Placement } from '../placement/placer.ts'
import { readPlatforms } from '../split/wishes.ts'
import { createProgress } from '../progress/progress.ts'
import type { Asked } from './admit.ts'
import { placeAllowed } from './allowed-node.ts'
import { anyNode, namedNode } from './choose.ts'
import { placedWhenBack } from './reach.ts'
import type { Build, Call, RelayContext } from './context.ts'
import { checkOwner } from './owner.ts'

type Bound = Pick<Build, 'node' | 'placement'>

/**
 * Decides where a Solve goes, once per ref and once per session: builds that share a session must share a daemon. Also
 * decides whether it goes anywhere, so that the other calls of a refused build get its error and do not wait in vain.
 * @param asked what the policy says of the request.
 * @param holds gets what must be released when the build has ended.
 * @throws InsituError when the build is refused.
 */
export async function bindBuild(
  context: RelayContext,
  call: Call,
  request: SolveRequest,
  facts: SolveFacts,
  holds: Hold<unknown>[],
  asked: Asked,
): Promise<Build> {
  const decide = async (): Promise<Bound> => {
    if (asked.refusal !== undefined) throw asked.refusal
    if (call.refusal !== undefined) throw new InsituError('DRAINING', call.refusal, { status: 'UNAVAILABLE' })
    if (facts.probe) {
      const any = async (): Promise<BuildNode> => anyNode(context.directory, call.upstreams.latest())
      return { node: await bindSessions(context, facts.sessions, holds, any), placement: undefined }
    }
    if (context.config.defaults) checkImageNames(request)
    return placeBuild(context, call, request, facts, holds, asked)
  }
  let first = false
  const hold = await context.builds.claim(facts.ref, async () => {
    first = true
    const delivery = facts.probe ? {} : readDelivery(solveHints(request))
    const bound = await decide()
    await checkNames(context, call, facts, asked, bound)
    return startBuild(context, call, bound, delivery)
  })
  holds.push(hold)
  // Another Solve of the same ref was decided before: what it was allowed is not allowed to this one.
  if (!first) {
    if (asked.refusal !== undefined) throw asked.refusal
    checkOwner(context, call, hold.value)
    await checkNames(context, call, facts, asked, hold.value)
  }
  return hold.value
}

function startBuild(context: RelayContext, call: Call, bound: Bound, delivery: DeliveryWish): Build {
  const progress = createProgress({ now: context.now })
  const { placement } = bound
  if (placement) progress.step(`[insitu] node ${placement.node}: ${placement.reason}`).done()
  const begun = Promise.withResolvers<void>()
  // Nobody may be waiting when it is sure that it will not begin.
  begun.promise.catch(() => undefined)
  return { ...bound, caller: call.caller, progress, begun, delivery }
}

/** What the policy can only say once the node is known. @throws InsituError POLICY */
async function checkNames(
  context: RelayContext,
  call: Call,
  facts: SolveFacts,
  asked: Asked,
  { node, placement }: Bound,
): Promise<void> {
  asked.checkNode(node.name)
  const nodes = new Set([node.name, ...(placement?.targets ?? [])])
  if (facts.images.length > 0) await context.admission.names(call.caller, facts.images, [...nodes], call.signal)
}

async function placeBuild(
  context: RelayContext,
  call: Call,
  request: SolveRequest,
  facts: SolveFacts,
  holds: Hold<unknown>[],
  asked: Asked,
): Promise<Bound> {
  const hints = solveHints(request)
  const wishes = readPlatforms(facts.platforms, hints)
  const place = (node: string | undefined): Promise<Placement> =>
    placedWhenBack(context, call, () =>
      context.placer.place({
        images: facts.images,
        ...wishes,
        node,
        workload: hints.for,
        namespace: callerNamespace(call.caller),
        cacheKey: facts.cacheKey,
      }),
    )
  let placement: Placement | undefined
  const node = await bindSessions(context, facts.sessions, holds, async () => {
    placement = await placeAllowed(asked.allowsNode, context.directory, facts.cacheKey, hints.node, place)
    return namedNode(context.directory, placement.node)
  })
  if (placement) return { node, placement }
  // The client's session is on a node already: that one it is, unless the client said another.
  placement = await place(hints.node)
  if (placement.node === node.name) return { node, placement }
  if (hints.node !== undefined) throw elsewhere(hints.node, node)
  return {
    node,
    placement: { ...(await place(node.name)), reason: 'other builds of the same client session are there' },
  }
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
