import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import { isReadyNode, nameOf, type Node } from './objects.ts'
import { patiently } from './patient.ts'

/** Names of the nodes whose kubelet answers. */
export async function readyNodes(client: Pick<KubernetesClient, 'list'>): Promise<ReadonlySet<string>> {
  const nodes = await patiently(() => client.list<Node>(resources.nodes))
  return new Set(nodes.filter(isReadyNode).map(nameOf))
}
