import { annotations, labels, rootlessAgent, serviceAccounts } from '../../api/names.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import type { Mode } from '../manifests/options.ts'
import type { Node, Workload } from './objects.ts'
import { patiently } from './patient.ts'

/** What runs the containers of a node, e.g. `containerd://2.1.0`, `cri-o://1.33.1`, `docker://28.3.0`. */
const runtimeOf = (node: Node): string => node.status?.nodeInfo?.containerRuntimeVersion ?? 'containerd://'

export const hasContainerd = (node: Node): boolean => runtimeOf(node).startsWith('containerd:')

const isLabelled = (node: Node): boolean => node.metadata?.labels?.[labels.mode] === 'rootless'

export interface Modes {
  /** Nodes whose agents build into the node's containerd. */
  readonly node: readonly Node[]
  readonly rootless: readonly Node[]
  /** Of the latter, those without containerd that nobody has labelled yet. */
  readonly toLabel: readonly { readonly name: string; readonly runtime: string }[]
}

/** Which agent each of these nodes gets. */
export function divide(nodes: readonly Node[], mode: Mode): Modes {
  if (mode === 'rootless') return { node: [], rootless: nodes, toLabel: [] }
  const labelled = nodes.filter(isLabelled)
  const others = nodes.filter((node) => !isLabelled(node))
  // Nobody else would take them: the agent that has to say so is not even scheduled.
  if (mode === 'node') return { node: others, rootless: [], toLabel: [] }
  const without = others.filter((node) => !hasContainerd(node))
  return {
    node: others.filter(hasContainerd),
    rootless: [...labelled, ...without],
    toLabel: without.map((node) => ({ name: node.metadata?.name ?? '', runtime: runtimeOf(node) })),
  }
}

/** Labels the nodes without containerd, and remembers that it was us. */
export async function labelNodes(
  client: KubernetesClient,
  nodes: Modes['toLabel'],
  say: (line: string) => void,
): Promise<void> {
  for (const { name, runtime } of nodes) {
    const metadata = { labels: { [labels.mode]: 'rootless' }, annotations: { [annotations.modeByInstall]: 'true' } }
    await patiently(() => client.patch(resources.nodes, { name }, { metadata }))
    say(`  Node ${name} runs ${runtime}, not containerd: it builds rootless (label ${labels.mode}=rootless)`)
  }
}

/** Takes our labels off the nodes; labels that somebody else wrote stay. */
export async function unlabelNodes(client: KubernetesClient): Promise<void> {
  for (const node of await patiently(() => client.list<Node>(resources.nodes))) {
    if (node.metadata?.annotations?.[annotations.modeByInstall] === undefined) continue
    const metadata = { labels: { [labels.mode]: null }, annotations: { [annotations.modeByInstall]: null } }
    await patiently(() => client.patch(resources.nodes, { name: node.metadata?.name }, { metadata }))
  }
}

/**
 * Agents of a mode that the installation is not to have any more would stay, and with them what they hold.
 * @throws InsituError MODE_CHANGE
 */
export async function checkModeChange(client: KubernetesClient, namespace: string, mode: Mode): Promise<void> {
  const unwanted = mode === 'node' ? rootlessAgent : mode === 'rootless' ? serviceAccounts.agent : undefined
  if (unwanted === undefined) return
  if (!(await client.find<Workload>(resources.daemonSets, { namespace, name: unwanted }))) return
  throw new InsituError('MODE_CHANGE', `there are agents of another mode: DaemonSet ${namespace}/${unwanted}`, {
    status: 'FAILED_PRECONDITION',
    fix: 'insitu uninstall --keep-builds first, or install with --mode mixed.',
  })
}
