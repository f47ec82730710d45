import { X509Certificate } from 'node:crypto'
import type { Authority } from '../../kernel/tls/ca.ts'

/** What the Secret holds: the CA that signs, the one that will sign next, and the one that did. PEM. */
export interface AuthorityState {
  readonly signing: Authority
  readonly next?: Authority | undefined
  /** Only the certificate: it is still trusted, and signs no more. */
  readonly previous?: string | undefined
}

/** What has to be done about the CA. */
export type AuthorityPlan =
  | { readonly action: 'keep'; readonly state: AuthorityState }
  | { readonly action: 'create' }
  /** Make another one, which is trusted from now on and signs later. */
  | { readonly action: 'add-next'; readonly state: AuthorityState }
  /** Write this state. */
  | { readonly action: 'write'; readonly state: AuthorityState }

const day = 24 * 3600 * 1000
/** A new CA is made this long before the old one ends. */
const ahead = 365 * day
/**
 * So long a new CA is trusted before it signs. Everybody fetches the bundle with each certificate, that is within a
 * day; three leave room for an agent that could not renew. The fourth lies before it was made, see ca.ts.
 */
const settle = 4 * day

/**
 * Decides what to do with the CA. Rotation takes two steps, so that at no time anybody meets a certificate of a CA it
 * does not know: first the next CA is added to the bundle, days later it takes over.
 */
export function planAuthority(state: AuthorityState | undefined, now: Date): AuthorityPlan {
  if (state === undefined) return { action: 'create' }
  const time = now.getTime()
  const { signing, next, previous } = state
  if (endOf(signing.cert) <= time) {
    // The cluster slept through the rotation: whatever was signed has ended too.
    return next && endOf(next.cert) > time ? { action: 'write', state: { signing: next } } : { action: 'create' }
  }
  if (next && startOf(next.cert) + settle <= time) {
    return { action: 'write', state: { signing: next, previous: signing.cert } }
  }
  if (!next && endOf(signing.cert) - time < ahead) return { action: 'add-next', state }
  if (previous !== undefined && endOf(previous) <= time) {
    return { action: 'write', state: { signing, ...(next ? { next } : {}) } }
  }
  return { action: 'keep', state }
}

/** Everything that is to be trusted, PEM. */
export const bundle = (state: AuthorityState): string =>
  [state.signing.cert, state.next?.cert, state.previous]
    .filter((cert) => cert !== undefined)
    .map((cert) => `${cert.trimEnd()}\n`)
    .join('')

const endOf = (cert: string): number => Date.parse(new X509Certificate(cert).validTo)
const startOf = (cert: string): number => Date.parse(new X509Certificate(cert).validFrom)
