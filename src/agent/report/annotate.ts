import { annotations } from '../../api/names.ts'
import type { NodeReport } from '../../api/node-report.ts'
import type { ClusterClient } from '../../kernel/k8s/in-cluster.ts'

/** Writes a report as an annotation on a pod, the agent's own. @throws InsituError KUBERNETES_API */
export async function annotatePod(
  client: ClusterClient,
  pod: { readonly namespace: string; readonly name: string },
  report: NodeReport,
): Promise<void> {
  await client.call({
    method: 'PATCH',
    path: `/api/v1/namespaces/${encodeURIComponent(pod.namespace)}/pods/${encodeURIComponent(pod.name)}?fieldManager=insitu`,
    contentType: 'application/merge-patch+json',
    body: { metadata: { annotations: { [annotations.nodeReport]: JSON.stringify(report) } } },
  })
}
