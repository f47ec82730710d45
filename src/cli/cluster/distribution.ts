import { labels } from '../../api/names.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { Distribution } from '../manifests/options.ts'
import type { Node } from './objects.ts'

/** The distribution of a node from what the API says about it; the usual containerd is `kubeadm`. */
export function distributionOf(node: Node): Distribution {
  const { nodeInfo } = node.status ?? {}
  const version = nodeInfo?.kubeletVersion ?? ''
  const labels = node.metadata?.labels ?? {}
  if (version.includes('+rke2')) return 'rke2'
  if (version.includes('+k3s')) return 'k3s'
  if ('microk8s.io/cluster' in labels || 'node.kubernetes.io/microk8s-worker' in labels) return 'microk8s'
  if (node.spec?.providerID?.startsWith('kind://')) return 'kind'
  return 'kubeadm'
}

/**
 * The one distribution of all nodes that will get an agent.
 * @throws InsituError MIXED_DISTRIBUTIONS when they keep their containerd at different places; RUNTIME when one has
 * another runtime than containerd.
 */
export function commonDistribution(nodes: readonly Node[]): Distribution {
  const other = nodes.find(
    (n) => !(n.status?.nodeInfo?.containerRuntimeVersion ?? 'containerd:').startsWith('containerd:'),
  )
  if (other) {
    const runtime = other.status?.nodeInfo?.containerRuntimeVersion
    throw new InsituError(
      'RUNTIME',
      `node ${other.metadata?.name} runs ${runtime}: insitu builds into containerd only`,
      {
        status: 'FAILED_PRECONDITION',
        fix: `Let such nodes build rootless: --mode mixed (or ${labels.mode}=rootless on them); or leave them out with --node-selector KEY=VALUE.`,
      },
    )
  }
  const found = new Map<Distribution, string>()
  for (const node of nodes) {
    const distribution = distributionOf(node)
    // kind keeps everything where kubeadm does, since it is one.
    found.set(distribution === 'kind' ? 'kubeadm' : distribution, node.metadata?.name ?? '')
  }
  if (found.size > 1) {
    const list = [...found].map(([distribution, node]) => `${distribution} (${node})`).join(', ')
    throw new InsituError('MIXED_DISTRIBUTIONS', `the nodes keep their containerd at different places: ${list}`, {
      status: 'FAILED_PRECONDITION',
      fix: 'Choose nodes of one kind with --node-selector KEY=VALUE, or say --distribution NAME.',
    })
  }
  const [first] = nodes
  return first && found.size === 1 ? distributionOf(first) : 'kubeadm'
}
