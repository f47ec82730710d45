import type { Endpoint } from '../../../src/kernel/k8s/endpoint.ts'
import { createKubernetesClient, type KubernetesClient } from '../../../src/kernel/k8s/client.ts'
import type { KubernetesObject } from '../../../src/kernel/k8s/objects.ts'
import { resources } from '../../../src/kernel/k8s/resources.ts'
import { manifests } from '../../../src/cli/manifests/manifests.ts'
import { defaultOptions } from '../../../src/cli/manifests/options.ts'
import { type ApiServer, startApiServer } from '../fixtures/apiserver.ts'

export const namespace = 'buildkit-system'

/** A pod on a node, and a token that is bound to it. */
export interface BoundPod {
  readonly name: string
  /** @param audience absent: for the API server. */
  token(audience?: string): Promise<string>
  /** What the pod's service account may do. */
  client(): Promise<KubernetesClient>
}

/**
 * A real API server with the default installation in it, and pods to be written into it.
 * @param before what is done before the installation is applied.
 */
export async function startInstalled(before?: (server: ApiServer) => Promise<void>) {
  const server = await startApiServer()
  const admin = await server.client()
  await before?.(server)
  for (const { object } of manifests(defaultOptions())) await admin.apply(object)
  const endpointFor = (token: string): Endpoint => ({
    server: `https://127.0.0.1:${server.port}`,
    namespace,
    credentials: () => Promise.resolve({ ca: server.ca, headers: { authorization: `Bearer ${token}` } }),
  })

  async function pod(name: string, serviceAccount: string, node: string, inNamespace = namespace): Promise<BoundPod> {
    await admin.apply({ apiVersion: 'v1', kind: 'Node', metadata: { name: node } })
    const created = await admin.create<KubernetesObject>(
      resources.pods,
      { namespace: inNamespace },
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, labels: { kept: 'yes' }, annotations: { kept: 'yes' } },
        spec: { nodeName: node, serviceAccountName: serviceAccount, containers: [{ name: 'c', image: 'busybox' }] },
      },
    )
    const token = async (audience?: string): Promise<string> => {
      const answer = await admin.create<KubernetesObject & { status: { token: string } }>(
        resources.serviceAccounts,
        { namespace: inNamespace, name: serviceAccount, subresource: 'token' },
        {
          apiVersion: 'authentication.k8s.io/v1',
          kind: 'TokenRequest',
          spec: {
            audiences: audience === undefined ? [] : [audience],
            expirationSeconds: 3600,
            boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name, uid: created.metadata?.uid },
          },
        },
      )
      return answer.status.token
    }
    return { name, token, client: async () => createKubernetesClient({ endpoint: endpointFor(await token()) }) }
  }

  return { server, admin, pod, clientFor: (token: string) => createKubernetesClient({ endpoint: endpointFor(token) }) }
}

export type Installed = Awaited<ReturnType<typeof startInstalled>>
