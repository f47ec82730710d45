import { agentServerName, spiffe } from '../../api/certificate.ts'
import { group, serviceAccounts } from '../../api/names.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import type { LeafOptions } from '../../kernel/tls/ca.ts'
import type { Identified } from './identify.ts'

type Who = Extract<Identified, { ok: true }>

/** Milliseconds: as long as the right to build may outlive its withdrawal. */
const clientLifetime = 3600_000

/** What the certificate says. Clients can only be clients with theirs. @param lifetime of theirs, milliseconds. */
export function leafFor(
  who: Who,
  namespace: string,
  lifetime = clientLifetime,
): Omit<LeafOptions, 'authority' | 'publicKey'> {
  if (who.kind === 'agent') {
    return {
      commonName: serviceAccounts.agent,
      uris: [spiffe(namespace, serviceAccounts.agent)],
      dnsNames: [agentServerName(who.node)],
    }
  }
  return {
    // A common name has at most 64 characters (RFC 5280, appendix A.1); the URI is what counts.
    commonName: `${who.namespace}/${who.serviceAccount}`.slice(0, 64),
    uris: [spiffe(who.namespace, who.serviceAccount)],
    lifetime,
    server: false,
  }
}

/**
 * Whether RBAC lets a service account build: it does for who may create `builds.insitu.build` in its own namespace.
 * @returns why not, or undefined.
 */
export async function mayNotBuild(
  client: KubernetesClient,
  who: Who,
  user: { readonly username: string; readonly groups: readonly string[] },
): Promise<string | undefined> {
  if (who.kind === 'agent') return undefined
  const { namespace, serviceAccount } = who
  const resource = { group, version: 'v1alpha1', plural: 'builds', namespaced: true }
  const asked = { verb: 'create', resource, namespace, user: user.username, groups: user.groups }
  if (await client.allowed(asked)) return undefined
  return (
    `${user.username} may not create builds.${group} in namespace ${namespace}; let it with: kubectl -n ${namespace} ` +
    `create rolebinding insitu-${serviceAccount} --clusterrole=insitu-builder --serviceaccount=${namespace}:${serviceAccount}`
  )
}
