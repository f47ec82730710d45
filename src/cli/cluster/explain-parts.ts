import type { ClusterView } from '../../gateway/placement/cluster.ts'
import { type Explanation, refusalOf } from '../../gateway/placement/explain.ts'
import { isNative } from '../../gateway/placement/fitness.ts'
import type { Placement, Placer, PlacementRequest } from '../../gateway/placement/placer.ts'
import { planSplit } from '../../gateway/split/plan.ts'
import { InsituError } from '../../kernel/errors.ts'

/** What one node would build of a build of several platforms. */
export interface ExplainedPart {
  readonly placement: Placement
  /** Platforms that its processor runs by itself. */
  readonly native: readonly string[]
  readonly emulated: readonly string[]
}

/** A decision with the platforms of each node that would build. */
export interface ExplainedBuild extends Explanation {
  /** One: that node builds all of it. None when no platform was asked for, or the build would be refused. */
  readonly parts: readonly ExplainedPart[]
  /** How a build goes that cannot be split; absent for one that is not. */
  readonly whole?: Pick<Explanation, 'placement' | 'refusal'>
}

/**
 * Adds which platforms would go to which node.
 * @param explanation of the build on one node.
 */
export async function explainParts(
  view: Pick<ClusterView, 'nodes' | 'agents'>,
  placer: Pick<Placer, 'place'>,
  explanation: Explanation,
): Promise<ExplainedBuild> {
  const { request, placement } = explanation
  const partOn = (chosen: Placement, own: readonly string[]): ExplainedPart => {
    const facts = view.nodes.get(chosen.node)
    const agent = view.agents.get(chosen.node)
    const runs = (platform: string): boolean => facts !== undefined && isNative(facts, platform, agent)
    return { placement: chosen, native: own.filter(runs), emulated: own.filter((platform) => !runs(platform)) }
  }
  const plan = await splitOf(placer, request)
  if (plan?.kind !== 'split') {
    const one = placement && request.platforms.length > 0 ? [partOn(placement, request.platforms)] : []
    return { ...explanation, parts: one }
  }
  const builders = new Set(plan.parts.map((part) => part.placement.node))
  const nodes = explanation.nodes.map((node) => {
    if (builders.has(node.node)) return { ...node, verdict: 'builds' as const, reason: undefined }
    return node.verdict === 'builds' ? { ...node, verdict: 'fit' as const } : node
  })
  const [{ placement: first }] = plan.parts
  const targets = [...new Set(plan.parts.flatMap((part) => part.placement.targets))]
  return {
    ...{ request, refusal: undefined, placement: { ...first, targets } },
    whole: await asStream(placer, explanation),
    nodes: nodes.toSorted((a, b) => Number(b.verdict === 'builds') - Number(a.verdict === 'builds')),
    parts: plan.parts.map((part) => partOn(part.placement, part.platforms)),
  }
}

/** The build on one node, of which the client gets the result: nothing of it stays there. */
async function asStream(
  placer: Pick<Placer, 'place'>,
  { request, placement, refusal }: Explanation,
): Promise<NonNullable<ExplainedBuild['whole']>> {
  if (request.stays !== true) return { placement, refusal }
  try {
    return { placement: await placer.place({ ...request, stays: false }), refusal: undefined }
  } catch (error) {
    if (!(error instanceof InsituError)) throw error
    return { placement: undefined, refusal: refusalOf(error) }
  }
}

/** As a gateway plans it; undefined where there is nothing to split, or a platform is built nowhere. */
async function splitOf(placer: Pick<Placer, 'place'>, request: PlacementRequest) {
  const { platforms, nativeOnly = false } = request
  if (platforms.length < 2 || request.node !== undefined) return undefined
  return planSplit(platforms, nativeOnly, (wanted, native, node) =>
    placer.place({ ...request, platforms: wanted, nativeOnly: native, node }),
  ).catch(() => undefined)
}

/** For people: a line for each node; where there are several, with the reason. */
export const partsText = ({ parts, whole }: ExplainedBuild): string[] => [
  ...parts.map(({ placement: { node, rule, reason }, native, emulated }) => {
    const how = [
      ...(native.length > 0 ? [`${native.join(', ')} natively`] : []),
      ...(emulated.length > 0 ? [`${emulated.join(', ')} emulated`] : []),
    ]
    return `  node ${node}: ${how.join('; ')}${whole ? ` (rule ${rule}: ${reason})` : ''}`
  }),
  ...(whole ? [`  as one stream to the client (type=oci, docker, tar, local): ${wholeText(whole)}`] : []),
]

const wholeText = ({ placement, refusal }: Pick<Explanation, 'placement' | 'refusal'>): string =>
  placement ? `all on node ${placement.node}, ${placement.reason}` : `refused, ${refusal?.message ?? ''}`
