import type { X509Certificate } from 'node:crypto'
import { nodeOfServerName } from '../../api/certificate.ts'
import { serviceAccounts } from '../../api/names.ts'
import type { Caller } from './caller.ts'

/**
 * Who a verified client certificate names: the SPIFFE URI `spiffe://insitu.build/ns/NAMESPACE/sa/NAME` if it has one
 * (see src/api/certificate.ts), else the common name and the organisations, as Kubernetes reads them.
 * @returns undefined for a certificate that names nobody.
 */
export function callerOfCertificate(
  certificate: Pick<X509Certificate, 'subjectAltName' | 'toLegacyObject'>,
): Caller | undefined {
  for (const name of (certificate.subjectAltName ?? '').split(/,\s*/)) {
    const match = /^URI:spiffe:\/\/insitu\.build\/ns\/([a-z0-9-]+)\/sa\/([a-z0-9.-]+)$/.exec(name)
    if (match) return { kind: 'service-account', namespace: match[1] as string, serviceAccount: match[2] as string }
  }
  // `certificate.subject` is for people to read: it escapes values, and joins those of one relative name with " + ".
  const { CN, O } = certificate.toLegacyObject().subject
  // Of several names Kubernetes takes the last.
  const name = [CN ?? []].flat().at(-1)
  return name === undefined || name === '' ? undefined : { kind: 'person', name, groups: [O ?? []].flat() }
}

/** An agent, by a certificate of ours. */
export interface AgentIdentity {
  readonly namespace: string
  readonly node: string
}

/** The agent that a verified certificate names: its service account, and the node by the DNS name of its port. */
export function agentOfCertificate(
  certificate: Pick<X509Certificate, 'subjectAltName' | 'toLegacyObject'>,
): AgentIdentity | undefined {
  const caller = callerOfCertificate(certificate)
  if (caller?.kind !== 'service-account' || caller.serviceAccount !== serviceAccounts.agent) return undefined
  for (const name of (certificate.subjectAltName ?? '').split(/,\s*/)) {
    const node = name.startsWith('DNS:') ? nodeOfServerName(name.slice('DNS:'.length)) : undefined
    if (node !== undefined) return { namespace: caller.namespace, node }
  }
  return undefined
}

const ours: readonly string[] = [serviceAccounts.agent, serviceAccounts.gateway]

/**
 * Why a verified certificate is still none of a client: gateways and agents have theirs for the port between them. If
 * it were good for builds, whoever owns one node could build, and replace images, on all of them.
 */
export function refusedCertificate(caller: Caller): string | undefined {
  if (caller.kind !== 'service-account' || !ours.includes(caller.serviceAccount)) return undefined
  return `that of ${caller.serviceAccount} is not for builds`
}
