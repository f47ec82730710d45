import { BlockList, isIP } from 'node:net'
import { InsituError } from '../../kernel/errors.ts'
import type { Caller } from './caller.ts'

/** Who may talk without TLS. */
export interface PlaintextRule {
  readonly loopback: boolean
  /** Namespaces whose pods may, besides those labelled for it. */
  readonly namespaces: readonly string[]
  /** `10.0.0.0/8`, `fd00::/8` or single addresses. */
  readonly cidrs: readonly string[]
}

/** The pod behind an address. */
export interface PodSource {
  readonly namespace: string
  readonly name: string
  readonly serviceAccount?: string | undefined
  /** The namespace carries insitu.build/plaintext=allow. */
  readonly plaintext: boolean
}

export interface Source {
  /** IP address, or the path of the unix socket the connection came in by. */
  readonly address: string
  readonly unix: boolean
  readonly pod: PodSource | undefined
}

/**
 * Not all of 127.0.0.0/8: a service mesh's sidecar in our pod hands on what comes from elsewhere, Istio's from 127.0.0.6.
 * `kubectl port-forward` and processes of this machine arrive from these.
 */
const loopbackAddresses = ['127.0.0.1', '::1']

/**
 * Decides whether a connection without a certificate may build, and as whom.
 * @throws InsituError PLAINTEXT_REFUSED (UNAUTHENTICATED) that says how to be let in.
 */
export function admitPlaintext(source: Source, rule: PlaintextRule): Caller {
  if (source.unix) return { kind: 'local', path: source.address }
  const address = plainAddress(source.address)
  if (rule.loopback && loopbackAddresses.includes(address)) return { kind: 'loopback', address }
  const { pod } = source
  if (pod && (pod.plaintext || rule.namespaces.includes(pod.namespace))) {
    const { namespace, name, serviceAccount } = pod
    return { kind: 'pod', namespace, name, address, serviceAccount }
  }
  const cidr = rule.cidrs.find((c) => inCidr(address, [c]))
  if (cidr !== undefined) return { kind: 'cidr', address, cidr }
  const who = pod ? `pod ${pod.namespace}/${pod.name}` : address
  throw new InsituError('PLAINTEXT_REFUSED', `${who} may not build here without a client certificate`, {
    status: 'UNAUTHENTICATED',
    fix:
      `connect with TLS and a client certificate, ` +
      (pod
        ? `or label its namespace: kubectl label namespace ${pod.namespace} insitu.build/plaintext=allow`
        : `or through kubectl port-forward, or add the address to gateway.plaintext.cidrs in insitu.toml`),
  })
}

/** `::ffff:10.0.0.1`, as sockets that take both families show it, is 10.0.0.1. */
export const plainAddress = (address: string): string => address.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '')

function inCidr(address: string, cidrs: readonly string[]): boolean {
  const family = isIP(address)
  if (family === 0) return false
  const list = new BlockList()
  for (const cidr of cidrs) {
    const [network = '', bits] = cidr.split('/')
    const type = isIP(network) === 4 ? 'ipv4' : 'ipv6'
    if (bits === undefined) list.addAddress(network, type)
    else list.addSubnet(network, Number(bits), type)
  }
  return list.check(address, family === 4 ? 'ipv4' : 'ipv6')
}
