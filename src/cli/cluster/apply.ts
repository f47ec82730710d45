import { annotations } from '../../api/names.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import type { KubernetesObject as AnyObject } from '../../kernel/k8s/objects.ts'
import { type KubernetesObject, objectName } from '../manifests/object.ts'
import { isUsersCa } from './own-ca.ts'
import { patiently } from './patient.ts'

type Client = Pick<KubernetesClient, 'apply' | 'find' | 'resource'>

/** Server-side apply in order; what others have added (a proxy variable of the agents, an annotation) stays. */
export async function apply(
  client: Client,
  objects: readonly KubernetesObject[],
  say: (line: string) => void,
): Promise<void> {
  for (const object of objects) {
    const resource = await patiently(() => client.resource(object.apiVersion, object.kind))
    const ref = { namespace: object.metadata.namespace, name: object.metadata.name }
    const before = await patiently(() => client.find<AnyObject>(resource, ref))
    if (before && isUsersCa(object.kind, before)) {
      say(`  ${objectName(object)} stays as it is: this CA is not insitu's`)
      continue
    }
    const created = before === undefined
    // Remembered, so that uninstall does not delete a namespace that was somebody else's first.
    const ours =
      object.kind === 'Namespace' && (created || before.metadata?.annotations?.[annotations.namespaceCreated])
    const metadata = ours
      ? { ...object.metadata, annotations: { [annotations.namespaceCreated]: 'true' } }
      : object.metadata
    const after = await patiently(() => client.apply<AnyObject>({ ...object, metadata }))
    const changed = before?.metadata?.resourceVersion !== after.metadata?.resourceVersion
    say(`  ${objectName(object)} ${created ? 'created' : changed ? 'changed' : 'unchanged'}`)
  }
}
