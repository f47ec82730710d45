import { caSecret, tlsSecret } from '../../api/names.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import { objectLabels } from '../manifests/object.ts'
import { patiently } from './patient.ts'

interface Typed extends KubernetesObject {
  readonly type?: string
}

/**
 * Whether this is the Secret of a CA that the user has brought. What insitu makes for its own is Opaque, and the type of
 * a Secret never changes.
 */
export const isUsersCa = (kind: string, object: KubernetesObject): boolean =>
  kind === 'Secret' && object.metadata?.name === caSecret && (object as Typed).type === tlsSecret

/**
 * Takes off the user's CA the labels that `kubectl apply` has put on it: it stays. Labels of another value are not ours.
 * @returns whether there is such a CA.
 */
export async function releaseUsersCa(client: KubernetesClient, namespace: string): Promise<boolean> {
  const ref = { namespace, name: caSecret }
  const secret = await patiently(() => client.find<KubernetesObject>(resources.secrets, ref))
  if (!secret || !isUsersCa('Secret', secret)) return false
  const ours = Object.entries(objectLabels('gateway')).filter(
    ([key, value]) => secret.metadata?.labels?.[key] === value,
  )
  if (ours.length > 0) {
    const metadata = { labels: Object.fromEntries(ours.map(([key]) => [key, null])) }
    await patiently(() => client.patch(resources.secrets, ref, { metadata }))
  }
  return true
}
