import type { NodeReport } from '../../api/node-report.ts'
import { listAgents } from '../../gateway/directory/kubernetes.ts'
import { cannotBuild, unwelcoming } from '../../gateway/placement/fitness.ts'
import { readNode, type RawNode } from '../../gateway/placement/read-node.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import { table } from './table.ts'

export interface ListedNode {
  readonly node: string
  /** Takes builds that could go anywhere. */
  readonly ready: boolean
  /** Why not, or why only builds for pods that are there already: `cordoned`, `no agent`, … */
  readonly reason: string | null
  readonly platform: string
  /** The agent's pod, if there is one. */
  readonly pod: string | null
  readonly report: NodeReport | null
}

/** Every node of the cluster, also those without an agent, by name. */
export async function listNodes(client: KubernetesClient, namespace: string): Promise<ListedNode[]> {
  const [raw, agents] = await Promise.all([client.list<RawNode>(resources.nodes), listAgents(client, namespace)])
  const nodes = new Map(raw.map(readNode).map((n) => [n.name, n]))
  return [...nodes.values()]
    .map((node): ListedNode => {
      const rejection = cannotBuild({ nodes, agents }, node.name, []) ?? unwelcoming(node)
      const agent = agents.get(node.name)
      const reason = rejection && (rejection.detail ? `${rejection.reason}: ${rejection.detail}` : rejection.reason)
      return {
        node: node.name,
        ready: rejection === undefined,
        reason: reason ?? null,
        platform: node.platform,
        pod: agent?.pod ?? null,
        report: agent?.report ?? null,
      }
    })
    .sort((a, b) => (a.node < b.node ? -1 : 1))
}

const nativeOf = (report: NodeReport | null): readonly string[] | undefined =>
  report?.nativePlatforms ?? report?.platforms

/** What the node builds with an emulator. */
function emulatedOf(report: NodeReport | null): readonly string[] {
  const native = nativeOf(report) ?? []
  return (report?.platforms ?? []).filter((platform) => !native.includes(platform))
}

/** For people: a table, then what the agents found. */
export function nodesText(nodes: readonly ListedNode[]): string {
  if (nodes.length === 0) return 'the cluster has no nodes'
  const rows = nodes.map(({ node, ready, reason, platform, report }) => [
    node,
    ready ? 'yes' : 'no',
    report?.state ?? '-',
    nativeOf(report)?.join(',') || platform,
    emulatedOf(report).join(',') || '-',
    report?.buildkit || '-',
    report?.containerd || (report?.mode ?? '-'),
    String(report?.findings.length ?? '-'),
    reason ?? '',
  ])
  const head = ['NODE', 'READY', 'STATE', 'NATIVE', 'EMULATED', 'BUILDKIT', 'CONTAINERD', 'FINDINGS', 'REASON']
  const findings = nodes.flatMap(({ node, report }) =>
    (report?.findings ?? []).map(
      (f) => `${node}: ${f.severity}: ${f.message} [${f.code}]${f.fix === undefined ? '' : `\n  fix: ${f.fix}`}`,
    ),
  )
  return [table([head, ...rows]), ...(findings.length === 0 ? [] : ['', ...findings])].join('\n')
}
