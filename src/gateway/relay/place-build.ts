import type { SolveRequest } from '../../buildkit/gen/control_pb.ts'
import { type SolveFacts, solveHints } from '../../buildkit/solve.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { Hold } from '../correlate/bindings.ts'
import type { BuildNode } from '../directory/directory.ts'
import { callerNamespace } from '../listener/caller.ts'
import type { Placement } from '../placement/placer.ts'
import { splitOutput } from '../split/output.ts'
import { planSplit } from '../split/plan.ts'
import { type BuildPart, noResults, type SplitBuild } from '../split/split-build.ts'
import { type PlatformWishes, readPlatforms } from '../split/wishes.ts'
import type { Asked } from './admit.ts'
import { type Allowed, placeAllowed } from './allowed-node.ts'
import { bindHubs, bindSessions, elsewhere } from './bind-sessions.ts'
import { checkCanStay, namedNode } from './choose.ts'
import type { Build, Call, RelayContext } from './context.ts'
import { placedWhenBack } from './reach.ts'

export type Bound = Pick<Build, 'node' | 'placement' | 'split'>

/** A build that is to be placed. */
export interface ToPlace {
  readonly call: Call
  readonly request: SolveRequest
  readonly facts: SolveFacts
  readonly asked: Asked
  /** `insitu.builds-per-node`, where the client says it. */
  readonly perNode: number | undefined
  /** Gets what must be released when the build has ended. */
  readonly holds: Hold<unknown>[]
}

/** Decides the node of a build, or the nodes when its platforms are native on several. @throws InsituError */
export async function placeBuild(context: RelayContext, build: ToPlace): Promise<Bound> {
  const { hints, wishes, place, allowed } = readBuild(context, build)
  if (build.facts.stays) checkCanStay(context.directory.nodes())
  const several = wishes.platforms.length > 1 && hints.node === undefined
  const split = several ? await splitBuild(context, build, wishes, place, allowed) : undefined
  if (split && 'parts' in split) return { node: split.parts[0].node, placement: split.parts[0].placement, split }
  return placeOnOne(context, build, split?.because)
}

/** Decides the one node that builds all of it. @param because why it is one. @throws InsituError */
export async function placeOnOne(context: RelayContext, build: ToPlace, because?: string): Promise<Bound> {
  const { hints, place, allowed } = readBuild(context, build)
  const bound = await placeWhole(context, build, hints.node, (node) => place(node), allowed)
  if (because === undefined || !bound.placement) return bound
  return { ...bound, placement: { ...bound.placement, reason: `${bound.placement.reason} (${because})` } }
}

function readBuild(context: RelayContext, { call, request, facts, asked, perNode: own }: ToPlace) {
  const hints = solveHints(request)
  const wishes = readPlatforms(facts.platforms, hints)
  const perNode = context.turns.limit({ perNode: own })
  const place = (node: string | undefined, only: PlatformWishes = wishes): Promise<Placement> =>
    context.placer.place({
      images: facts.images,
      ...only,
      stays: facts.stays,
      node,
      workload: hints.for,
      namespace: callerNamespace(call.caller),
      cacheKey: facts.cacheKey,
      perNode,
    })
  const allowed: Allowed = {
    allows: asked.allowsNode,
    full: (node) => context.activity.on(node) >= (perNode ?? Infinity),
    directory: context.directory,
    cacheKey: facts.cacheKey,
  }
  return { hints, wishes, place, allowed }
}

async function placeWhole(
  context: RelayContext,
  { call, facts, holds }: ToPlace,
  wanted: string | undefined,
  placeOnce: (node: string | undefined) => Promise<Placement>,
  allowed: Allowed,
): Promise<Bound> {
  const place = (node: string | undefined): Promise<Placement> =>
    placedWhenBack(context, call, () => placeOnce(node), { node, platforms: facts.platforms })
  let placement: Placement | undefined
  const node = await bindSessions(context, facts.sessions, holds, async () => {
    placement = await placeAllowed(allowed, wanted, place)
    return namedNode(context.directory, placement.node)
  })
  if (placement) return { node, placement }
  // The client's session is on a node already: that one it is, unless the client said another.
  const reason = 'other builds of the same client session are there'
  if (isDraining(context, node) && (wanted ?? node.name) === node.name) {
    // The session does not outlive the daemon: who waits for the next one waits in vain.
    return { node, placement: { rule: 'said', node: node.name, targets: [node.name], reason } }
  }
  placement = await place(wanted)
  if (placement.node === node.name) return { node, placement }
  if (wanted !== undefined) throw elsewhere(wanted, node)
  return { node, placement: { ...(await place(node.name)), reason } }
}

/** Its agent is being stopped, and waits for its builds: the node itself stays. */
const isDraining = ({ directory, placer }: RelayContext, { name }: BuildNode): boolean =>
  directory.node(name)?.report?.state === 'draining' && placer.leaving?.(name) === undefined

/** @returns undefined when one node does it all natively or nobody does better; why not when it cannot be split. */
async function splitBuild(
  context: RelayContext,
  { request, facts, holds }: ToPlace,
  wishes: PlatformWishes,
  place: (node: string | undefined, only: PlatformWishes) => Promise<Placement>,
  allowed: Allowed,
): Promise<SplitBuild | { readonly because: string } | undefined> {
  if (context.directory.nodes().length < 2) return undefined
  const plan = await planSplit(wishes.platforms, wishes.nativeOnly, async (platforms, nativeOnly, wanted) => {
    const placement = await placeAllowed(allowed, wanted, (node) => place(node, { platforms, nativeOnly }))
    // What is native only where the caller may not build is not native for it.
    if (!allowed.allows(placement.node)) throw notAllowed(placement.node, platforms, nativeOnly)
    return placement
  })
  if (plan.kind === 'whole') return undefined
  const because = (why: string) => ({ because: `not split between ${plan.parts.length} nodes, because ${why}` })
  const output = splitOutput(request, wishes.platforms)
  if ('because' in output) return because(output.because)
  const hubs = await bindHubs(context, facts.sessions, holds)
  if (!hubs) return because('other builds of the same client session are on one node')
  const parts = plan.parts.map(({ platforms, placement }): BuildPart => ({
    node: namedNode(context.directory, placement.node),
    platforms,
    placement,
  }))
  for (const { node } of parts) for (const hub of hubs) hub.join(node)
  const [first, ...rest] = parts as [BuildPart, ...BuildPart[]]
  return { parts: [first, ...rest], platforms: wishes.platforms, output, results: noResults(), session: hubs.at(-1) }
}

function notAllowed(node: string, platforms: readonly string[], nativeOnly: boolean): InsituError {
  const does = nativeOnly ? `runs ${platforms.join(', ')} natively` : `builds ${platforms.join(', ')}`
  return new InsituError('POLICY', `node ${node} is not allowed, and no other one ${does}`, {
    status: 'PERMISSION_DENIED',
    fix: 'add it to nodes of the tenant',
  })
}
