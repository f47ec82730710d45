import type { SolveRequest } from '../../buildkit/gen/control_pb.ts'
import type { Hints } from '../../buildkit/hints.ts'
import { checkImageNames, type SolveFacts, solveHints } from '../../buildkit/solve.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { Hold } from '../correlate/bindings.ts'
import type { BuildNode } from '../directory/directory.ts'
import { readDelivery } from '../delivery/targets.ts'
import { createProgress } from '../progress/progress.ts'
import { type ProxyWish, readProxyWish } from '../proxy/wish.ts'
import { createFallback } from '../split/fallback.ts'
import type { Asked } from './admit.ts'
import { bindSessions } from './bind-sessions.ts'
import { anyNode, isRootless } from './choose.ts'
import type { Build, Call, RelayContext } from './context.ts'
import { checkOwner } from './owner.ts'
import { type Bound, placeBuild, placeOnOne } from './place-build.ts'

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
  const decide = async (perNode: number | undefined): Promise<Bound> => {
    if (asked.refusal !== undefined) throw asked.refusal
    if (call.refusal !== undefined) throw new InsituError('DRAINING', call.refusal, { status: 'UNAVAILABLE' })
    if (facts.probe) {
      const any = async (): Promise<BuildNode> => anyNode(context.directory, call.upstreams.latest(), asked.allowsNode)
      return { node: await bindSessions(context, facts.sessions, holds, any), placement: undefined }
    }
    if (context.config.defaults) checkImageNames(request)
    return placeBuild(context, { call, request, facts, asked, holds, perNode })
  }
  let first = false
  const hold = await context.builds.claim(facts.ref, async () => {
    first = true
    const hints = facts.probe ? {} : solveHints(request)
    const delivery = readDelivery(hints)
    const perNode = ownLimit(hints)
    const proxy = facts.probe ? noWish : readProxyWish(request)
    const bound = await decide(perNode)
    await checkNames(context, call, facts, asked, bound)
    return startBuild(context, call, bound, { delivery, proxy, perNode })
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

/**
 * A split build becomes one of a single node, with the same sessions. Daemons remember a Ref for a while: it gets another.
 * @throws InsituError when no node does it all.
 */
export async function bindToOne(
  context: RelayContext,
  call: Call,
  build: Build,
  asked: {
    readonly request: SolveRequest
    readonly facts: SolveFacts
    readonly asked: Asked
    readonly holds: Hold<unknown>[]
  },
): Promise<Build> {
  const count = build.split?.parts.length ?? 0
  const because = `not split between ${count} nodes, because the client puts platforms together itself`
  const bound = await placeOnOne(context, { call, ...asked, perNode: build.perNode }, because)
  await checkNames(context, call, asked.facts, asked.asked, bound)
  const { node, placement } = bound
  if (placement) build.progress.step(`[insitu] node ${node.name}: ${placement.reason}`).done()
  const begun = Promise.withResolvers<void>()
  begun.promise.catch(() => undefined)
  const ref = `${asked.facts.ref}-whole`
  const whole = { ...build, ...bound, ref, begun, split: undefined, fallback: undefined }
  build.fallback?.build.resolve(whole)
  return whole
}

const noWish: ProxyWish = { off: false, own: {} }

type Wishes = Pick<Build, 'delivery' | 'proxy' | 'perNode'>

/** `insitu.builds-per-node`: the build starts while fewer than so many build on its node. @throws InsituError HINT */
function ownLimit({ 'builds-per-node': text }: Hints): number | undefined {
  if (text === undefined) return undefined
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text)
  throw new InsituError('HINT', `insitu.builds-per-node cannot be "${text}"`, {
    status: 'INVALID_ARGUMENT',
    fix: 'say a number from 1',
  })
}

function startBuild(context: RelayContext, call: Call, bound: Bound, wishes: Wishes): Build {
  const progress = createProgress({ now: context.now })
  const { placement, split } = bound
  for (const part of split?.parts ?? []) {
    progress
      .step(`[insitu] node ${part.node.name} builds ${part.platforms.join(', ')}: ${part.placement.reason}`)
      .done()
  }
  if (placement && !split) progress.step(`[insitu] node ${placement.node}: ${placement.reason}`).done()
  const begun = Promise.withResolvers<void>()
  // Nobody may be waiting when it is sure that it will not begin.
  begun.promise.catch(() => undefined)
  return {
    ...bound,
    ...wishes,
    caller: call.caller,
    solve: call.signal,
    progress,
    begun,
    fallback: split && createFallback(),
  }
}

/** What the policy can only say once the node is known. @throws InsituError POLICY */
async function checkNames(
  context: RelayContext,
  call: Call,
  facts: SolveFacts,
  asked: Asked,
  { node, placement, split }: Bound,
): Promise<void> {
  const parts = split?.parts ?? [{ node, placement }]
  for (const part of parts) asked.checkNode(part.node.name)
  // Its nodes keep no name of what they push: the index is the gateway's.
  if (split?.output.kind === 'push') return
  // Nothing of a rootless node's containerd is written.
  const written = parts.filter((part) => !isRootless(part.node))
  const nodes = new Set(written.flatMap((part) => [part.node.name, ...(part.placement?.targets ?? [])]))
  if (facts.images.length > 0 && nodes.size > 0)
    await context.admission.names(call.caller, facts.images, [...nodes], call.signal)
}
