/**
 * `POST /v1/certificate` on the gateway's port 2375 over TLS (HTTP/2), bearer token of a service account with the
 * audience `insitu.build`: an agent's, bound to its pod, for the port between gateways and agents; or that of anybody
 * who may create `builds.insitu.build` in its namespace, for builds, for an hour. The key never travels: only its public half does, inside an authenticated channel.
 */
export const certificatePath = '/v1/certificate'

export interface CertificateRequest {
  /** SubjectPublicKeyInfo, PEM (`-----BEGIN PUBLIC KEY-----`). */
  readonly publicKey: string
}

export interface CertificateResponse {
  /** Leaf certificate, PEM. */
  readonly certificate: string
  /** CA bundle, PEM; may hold two while the CA is rotated. */
  readonly ca: string
  /** RFC 3339. Renew at two thirds of the life. */
  readonly notAfter: string
}

/** URI in the certificate: who the holder is. */
export const spiffe = (namespace: string, serviceAccount: string): string =>
  `spiffe://insitu.build/ns/${namespace}/sa/${serviceAccount}`

const agentSuffix = '.node.insitu.build'

/** DNS name in an agent's certificate, which gateways check against the node they dial. */
export const agentServerName = (node: string): string => `${node}${agentSuffix}`

/** The node whose agent has this DNS name; undefined for any other name. */
export const nodeOfServerName = (name: string): string | undefined =>
  name.endsWith(agentSuffix) && name.length > agentSuffix.length ? name.slice(0, -agentSuffix.length) : undefined

/** DNS names in a gateway's certificate. */
export const gatewayServerNames = (namespace: string): readonly string[] => [
  'buildkitd',
  `buildkitd.${namespace}`,
  `buildkitd.${namespace}.svc`,
  `buildkitd.${namespace}.svc.cluster.local`,
  'localhost',
]
