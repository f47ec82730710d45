import { X509Certificate } from 'node:crypto'
import type { Authority } from '../../kernel/tls/ca.ts'
import { longestLife } from '../../kernel/tls/lifetimes.ts'
import type { ClusterAuthority } from './authority.ts'

/**
 * Lets a CA that replaces another be trusted for a while before it signs: somebody else replaces it in one step, and
 * the other gateways and the agents, each of which looks at its own time, would refuse the first certificates of it.
 * The former one signs on from memory as long as it is in the bundle and outlives what it signs.
 * @param hold milliseconds
 * @returns what to sign with, to be asked with each look at the CA.
 */
export function settling(hold: number): (seen: ClusterAuthority, now: Date) => ClusterAuthority {
  let signing: Authority | undefined
  let waiting: { readonly cert: string; readonly since: number } | undefined
  return (seen, now) => {
    const { cert } = seen.signing
    if (signing !== undefined && signing.cert !== cert && canSign(signing, seen.bundle, now)) {
      if (waiting?.cert !== cert) waiting = { cert, since: now.getTime() }
      if (now.getTime() - waiting.since < hold) return { ...seen, signing }
    }
    signing = seen.signing
    waiting = undefined
    return seen
  }
}

const canSign = ({ cert }: Authority, bundle: string, now: Date): boolean =>
  bundle.includes(cert.trim()) && Date.parse(new X509Certificate(cert).validTo) >= now.getTime() + longestLife
