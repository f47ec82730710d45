import { setTimeout as pause } from 'node:timers/promises'
import { annotations } from '../../api/names.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import { manifests } from '../manifests/manifests.ts'
import { defaultOptions } from '../manifests/options.ts'
import { isOurs } from './checks.ts'
import type { UninstallFlags } from './flags.ts'
import type { Pod } from './objects.ts'
import { patiently } from './patient.ts'
import { readyNodes } from './ready-nodes.ts'

type Client = Pick<KubernetesClient, 'delete' | 'find' | 'list' | 'patch'>

/**
 * Deletes the namespace if it is ours, else takes our labels off it.
 * @returns whether it was deleted.
 * @throws InsituError NAMESPACE_STAYS
 */
export async function removeNamespace(
  client: Client,
  home: KubernetesObject | undefined,
  { namespace, deleteNamespace }: Pick<UninstallFlags, 'namespace' | 'deleteNamespace'>,
  timeout: number,
): Promise<boolean> {
  if (!home) return false
  const ref = { name: namespace }
  if (home.metadata?.annotations?.[annotations.namespaceCreated] === undefined && !deleteNamespace) {
    if (isOurs(home)) {
      const [manifest] = manifests({ ...defaultOptions(), namespace })
      const gone = Object.keys(manifest?.object.metadata.labels ?? {}).map((key) => [key, null])
      await client.patch(resources.namespaces, ref, { metadata: { labels: Object.fromEntries(gone) } })
    }
    return false
  }
  await client.delete(resources.namespaces, ref)
  const down = await downWithPods(client, namespace)
  if (down.length > 0) {
    throw new InsituError(
      'NAMESPACE_STAYS',
      `namespace ${namespace} keeps pods of nodes that are down: ${down.join(', ')}`,
      {
        status: 'FAILED_PRECONDITION',
        fix: 'It goes by itself when these nodes are back, or deleted from the cluster.',
      },
    )
  }
  const end = Date.now() + timeout
  while (await patiently(() => client.find(resources.namespaces, ref))) {
    if (Date.now() > end) {
      throw new InsituError('NAMESPACE_STAYS', `namespace ${namespace} is not gone yet`, {
        status: 'DEADLINE_EXCEEDED',
        fix: `kubectl get namespace ${namespace} -o yaml says what it waits for.`,
      })
    }
    await pause(500)
  }
  return true
}

/** Nodes that are down and have pods of the namespace, which only their kubelets can end. */
async function downWithPods(client: Client, namespace: string): Promise<readonly string[]> {
  const pods = await patiently(() => client.list<Pod>(resources.pods, { namespace }))
  // What has ended needs no kubelet.
  const bound = pods.filter(({ status }) => !['Succeeded', 'Failed'].includes(status?.phase ?? ''))
  const nodes = new Set(bound.flatMap(({ spec }) => spec?.nodeName ?? []))
  if (nodes.size === 0) return []
  const ready = await readyNodes(client)
  return [...nodes].filter((node) => !ready.has(node)).toSorted()
}
