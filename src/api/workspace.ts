/**
 * `POST /v1/namespace-end` on the gateway's port 2375 over TLS (HTTP/2), bearer token of a service account with the
 * audience `insitu.build`: whether the namespace of that account is being deleted. Asked by the pod of a Build with a
 * directory on a claim at its end, because nothing can be made in such a namespace that would remove the directory later.
 */
export const namespaceEndPath = '/v1/namespace-end'

export interface NamespaceEndResponse {
  readonly ends: boolean
}
