import { InsituError } from '../../kernel/errors.ts'
import type { ClusterView } from './cluster.ts'
import { isNative } from './fitness.ts'
import type { PlacementRequest } from './placer.ts'

type Nodes = Pick<ClusterView, 'nodes' | 'agents'>

/**
 * Looks for a node that runs the platforms natively, by all rules, and only then for one that emulates: a pod on another
 * architecture is no reason to emulate, it gets the image delivered.
 * @throws what `decide` throws; NO_NATIVE_NODE (FAILED_PRECONDITION) when there must be no emulation.
 */
export function nativeFirst<T>(request: PlacementRequest, nodes: Nodes, decide: (request: PlacementRequest) => T): T {
  if (request.platforms.length === 0) return decide(request)
  try {
    return decide({ ...request, nativeOnly: true })
  } catch (error) {
    if (!(error instanceof InsituError)) throw error
    if (request.nativeOnly !== true) return decide(request)
    const what = request.platforms.join(', ')
    throw new InsituError('NO_NATIVE_NODE', `${what} should not be emulated, and ${natives(nodes)}`, {
      status: 'FAILED_PRECONDITION',
      fix: 'leave insitu.emulate=never out, or add a node of that architecture; `insitu nodes` shows what each can do',
      cause: error,
    })
  }
}

/** `the cluster has 2 nodes of linux/amd64 and 1 of linux/arm64`, those that take builds. */
function natives({ nodes, agents }: Nodes): string {
  const counts = new Map<string, number>()
  for (const [name, node] of nodes) {
    const agent = agents.get(name)
    if (!agent?.ready || !node.ready) continue
    const own = agent.native?.filter((platform) => isNative(node, platform, agent)) ?? [node.platform]
    for (const platform of own) counts.set(platform, (counts.get(platform) ?? 0) + 1)
  }
  const parts = [...counts]
    .toSorted(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))
    .map(([platform, n], i) => `${n}${i > 0 ? '' : n === 1 ? ' node' : ' nodes'} of ${platform}`)
  return parts.length === 0 ? 'no node takes builds' : `the cluster has ${parts.join(', ')}`
}
