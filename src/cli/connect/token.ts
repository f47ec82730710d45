import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tokenAudience } from '../../api/names.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import { checkNamedFile } from './named-file.ts'
import type { ConnectFlags } from './options.ts'

/** Where a pod that builds has its token: see docs/connect.md. */
export const projectedToken = '/var/run/secrets/insitu.build/token'

/** Seconds. The API server's least. */
const lifetime = 600

interface TokenRequest extends KubernetesObject {
  readonly status?: { readonly token?: string }
}

/**
 * Says how this client gets a token for the gateway: from a file that a kubelet renews, or from the API server with
 * the rights of the kubeconfig's user.
 * @param client asked for only when there is no file.
 * @param own whether it builds in the cluster of its own pod: no other one is shown the pod's token.
 * @throws UsageError
 */
export function tokenSource(
  flags: ConnectFlags,
  client: () => Promise<KubernetesClient>,
  own: boolean,
): (signal: AbortSignal) => Promise<string> {
  const file = flags.tokenFile ?? (flags.serviceAccount === undefined && own ? projectedToken : undefined)
  if (flags.tokenFile !== undefined) checkNamedFile('--token-file', flags.tokenFile)
  if (file !== undefined && existsSync(file)) return () => readFile(file, 'utf8')
  const [first = '', second] = (flags.serviceAccount ?? 'default').split('/')
  return async (signal) => {
    const kubernetes = await client()
    const ref = { namespace: second === undefined ? kubernetes.namespace : first, name: second ?? first }
    const request = await kubernetes.create<TokenRequest>(
      resources.serviceAccounts,
      { ...ref, subresource: 'token' },
      {
        ...{ apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest' },
        spec: { audiences: [tokenAudience], expirationSeconds: lifetime },
      },
      { signal },
    )
    return request.status?.token ?? ''
  }
}
