import { ownNames } from '../../buildkit/no-proxy.ts'
import { fewRanges } from './ranges.ts'

/** What of a cluster no proxy is asked for. */
export interface ClusterNetwork {
  /** ServiceCIDRs. */
  readonly services: readonly string[]
  /** `podCIDRs` of the nodes. */
  readonly pods: readonly string[]
  /** Addresses of the nodes. */
  readonly nodes: readonly string[]
  /** Host of the API server, as pods know it. */
  readonly apiServer: string | undefined
  /** `cluster.local` */
  readonly domain: string | undefined
  /** Hosts of registries that are spoken to as in one's own network. */
  readonly registries: readonly string[]
}

/** Ranges of each kind. Every program of every step gets them in its environment. */
const most = 32

/** Entries for NO_PROXY, the same for the same cluster. */
export function exceptionsOf(network: ClusterNetwork): string[] {
  const { services, pods, nodes, apiServer, domain, registries } = network
  const all = [
    ...ownNames(domain),
    ...(apiServer === undefined ? [] : [apiServer]),
    ...fewRanges(services, most).toSorted(),
    ...fewRanges(pods, most).toSorted(),
    ...fewRanges(nodes, most).toSorted(),
    // Programs compare without a port, or with it: the name alone holds for all ports.
    ...registries.map((host) => host.replace(/:\d+$/, '').replace(/^\[|\]$/g, '')).toSorted(),
  ]
  return [...new Set(all)]
}
