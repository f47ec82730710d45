import type { SolveRequest } from '../../buildkit/gen/control_pb.ts'
import { type SolveFacts, solveHints } from '../../buildkit/solve.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { Hold } from '../correlate/bindings.ts'
import type { BuildNode } from '../directory/directory.ts'
import { callerNamespace } from '../listener/caller.ts'
import type { Placement } from '../placement/placer.ts'
import { splitOutput } from '../split/output.ts'
import { type PlacePlatforms, planSplit } from '../split/plan.ts'
import { type BuildPart, noResults, type SplitBuild } from '../split/split-build.ts'
import { type PlatformWishes, readPlatforms } from '../split/wishes.ts'
import type { Asked } from './admit.ts'
import { type Allowed, placeAllowed } from './allowed-node.ts'
import { bindHubs, bindSessions, elsewhere } from './bind-sessions.ts'
import { checkCanStay, namedNode } from './choose.ts'
import type { Build, Call, RelayContext } from './context.ts'
import { couldBuild, foundNoNode, placedWhenBack } from './reach.ts'

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
  const reading = readBuild(context, build)
  const { hints, wishes } = reading
  if (build.facts.stays) checkCanStay(context.directory.nodes())
  const several = wishes.platforms.length > 1 && hints.node === undefined
  const split = several ? await splitWhenBack(context, build, reading) : undefined
  if (split && 'parts' in split) return { node: split.parts[0].node, placement: split.parts[0].placement, split }
  return placeOnOne(context, build, split?.because)
}

/** Decides the one node that builds all of it. @param because why it is one. @throws InsituError */
export async function placeOnOne(context: RelayContext, build: ToPlace, because?: string): Promise<Bound> {
  const bound = await placeWhole(context, build, readBuild(context, build))
  if (because === undefined || !bound.placement) return bound
  return { ...bound, placement: { ...bound.placement, reason: `${bound.placement.reason} (${because})` } }
}

type Reading = ReturnType<typeof readBuild>

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
  const placePart: PlacePlatforms = async (platforms, nativeOnly, wanted) => {
    const placement = await placeAllowed(allowed, wanted, (node) => place(node, { platforms, nativeOnly }))
    // What is native only where the caller may not build is not native for it.
    if (!allowed.allows(placement.node)) throw notAllowed(placement.node, platforms, nativeOnly)
    return placement
  }
  return { hints, wishes, place, placePart, allowed }
}

async function placeWhole(context: RelayContext, { call, facts, holds }: ToPlace, reading: Reading): Promise<Bound> {
  const { wishes, place: placeOnce, allowed } = reading
  const { node: wanted } = reading.hints
  const place = (node: string | undefined): Promise<Placement> =>
    placedWhenBack(context, call, () => placeOnce(node), { node, ...wishes, allows: allowed.allows })
  let placement: Placement | undefined
  const node = await bindSessions(context, facts.sessions, holds, async () => {
    placement = await placeWholeAllowed(context, call, reading)
    return namedNode(context.directory, placement.node)
  })
  if (placement) return { node, placement }
  // The client's session is on a node already: that one it is, unless the client said another.
  const reason = 'other builds of the same client session are there'
  if (buildsStill(context, node, wishes) && (wanted ?? node.name) === node.name) {
    // The session does not outlive the daemon: who waits for the next one waits in vain.
    return { node, placement: { rule: 'said', node: node.name, targets: [node.name], reason } }
  }
  placement = await place(wanted)
  if (placement.node === node.name) return { node, placement }
  if (wanted !== undefined) throw elsewhere(wanted, node)
  return { node, placement: { ...(await place(node.name)), reason } }
}

/**
 * As `placeAllowed`, also while the only nodes that its caller may use are being restarted.
 * @returns a node that the policy refuses, when it allows none that builds this.
 */
async function placeWholeAllowed(
  context: RelayContext,
  call: Call,
  { hints: { node: wanted }, wishes, place, allowed }: Reading,
): Promise<Placement> {
  let refused: Placement | undefined
  const decide = async (): Promise<Placement> => {
    refused = undefined
    const placement = await placeAllowed(allowed, wanted, place)
    if (wanted !== undefined || allowed.allows(placement.node)) return placement
    refused = placement
    throw notAllowed(placement.node, wishes.platforms, wishes.nativeOnly)
  }
  try {
    return await placedWhenBack(context, call, decide, { node: wanted, ...wishes, allows: allowed.allows })
  } catch (error) {
    // In the words of the policy's own rule, unless it was waited for others in vain.
    if (refused && error instanceof InsituError && error.status === 'PERMISSION_DENIED') return refused
    throw error
  }
}

/** Its agent is being stopped, and waits for its builds: the node itself stays, and can do this one. */
function buildsStill({ directory, placer }: RelayContext, { name }: BuildNode, wishes: PlatformWishes): boolean {
  const node = directory.node(name)
  if (node?.report?.state !== 'draining' || placer.leaving?.(name) !== undefined) return false
  return couldBuild(node, wishes.platforms, wishes.nativeOnly)
}

type Split = SplitBuild | { readonly because: string }

/**
 * As `splitBuild`, also while nodes that some of the platforms need are being restarted. No session is bound meanwhile.
 * @returns also undefined when no node takes it and its session is on one already, which decides then.
 */
async function splitWhenBack(context: RelayContext, build: ToPlace, reading: Reading): Promise<Split | undefined> {
  const { call, request, facts } = build
  const { wishes, place, allowed } = reading
  const decide = async (): Promise<Split | undefined> => {
    try {
      const split = await splitBuild(context, build, reading)
      // Who goes on to the one node that builds all of it waits for nobody who could share it.
      if (!split) await place(undefined)
      return split
    } catch (error) {
      // Such a session does not outlive its daemon: who waits for others may wait in vain.
      if (foundNoNode(error) && (await someOnOneNode(context, facts.sessions))) return undefined
      throw error
    }
  }
  const canSplit = !('because' in splitOutput(request, wishes.platforms))
  const missing = canSplit ? () => missingOf(reading) : undefined
  return placedWhenBack(context, call, decide, { ...wishes, allows: allowed.allows, missing })
}

/** The platforms that no node takes now. */
async function missingOf({ wishes: { platforms, nativeOnly }, placePart }: Reading): Promise<readonly string[]> {
  const missing: string[] = []
  for (const platform of platforms) {
    try {
      await placePart([platform], nativeOnly)
    } catch (error) {
      if (!(error instanceof InsituError)) throw error
      missing.push(platform)
    }
  }
  return missing
}

/** Whether a session is bound to a single node. */
async function someOnOneNode({ sessions }: RelayContext, ids: readonly string[]): Promise<boolean> {
  for (const id of ids) {
    // Who is just binding it may fail.
    const hold = await sessions.wait(id, 0).catch(() => undefined)
    hold?.release()
    if (hold?.value.node) return true
  }
  return false
}

/** @returns undefined when one node does it all natively or nobody does better; why not when it cannot be split. */
async function splitBuild(
  context: RelayContext,
  { request, facts, holds }: ToPlace,
  { wishes, placePart }: Reading,
): Promise<Split | undefined> {
  if (context.directory.nodes().length < 2) return undefined
  const plan = await planSplit(wishes.platforms, wishes.nativeOnly, placePart)
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
