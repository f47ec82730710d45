import { serviceAccounts } from '../../api/names.ts'
import type { TokenReview } from '../../kernel/k8s/client.ts'

/** Somebody who has proved who it is, or why it has not. */
export type Identified =
  | { readonly ok: true; readonly kind: 'agent'; readonly node: string; readonly pod: string }
  /** Any other service account. Whether it may build is another question. */
  | { readonly ok: true; readonly kind: 'client'; readonly namespace: string; readonly serviceAccount: string }
  | { readonly ok: false; readonly status: 401 | 403; readonly message: string }

const extra = { node: 'authentication.kubernetes.io/node-name', pod: 'authentication.kubernetes.io/pod-name' }

/**
 * Who asks for a certificate. Agents of our own namespace get one for the node that the API server says their pod is
 * bound to: a stolen token is good for no other node's name. Names that mean something to gateways and agents are
 * given to nobody else, in no namespace.
 */
export function identify(review: TokenReview, namespace: string): Identified {
  const refuse = (status: 401 | 403, message: string): Identified => ({ ok: false, status, message })
  if (!review.authenticated) {
    return refuse(401, `the token is not valid here${review.error === undefined ? '' : `: ${review.error}`}`)
  }
  const account = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(review.username)
  const [, where = '', name = ''] = account ?? []
  if (!account) return refuse(403, `${review.username} is no service account: only those get certificates here`)
  if (!reserved.includes(name)) return { ok: true, kind: 'client', namespace: where, serviceAccount: name }
  const expected = `system:serviceaccount:${namespace}:${serviceAccounts.agent}`
  if (review.username !== expected) return refuse(403, `${review.username} is not an agent: only ${expected} is`)
  const node = review.extra[extra.node]?.[0]
  const pod = review.extra[extra.pod]?.[0]
  if (pod === undefined) return refuse(403, 'the token is not bound to a pod: agents use a projected token')
  if (node === undefined) {
    return refuse(403, 'the token names no node: the API server must be Kubernetes 1.30 or later')
  }
  return { ok: true, kind: 'agent', node, pod }
}

const reserved: readonly string[] = Object.values(serviceAccounts)
