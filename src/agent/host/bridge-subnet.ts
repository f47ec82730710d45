import { readFile } from 'node:fs/promises'
import { isIPv4 } from 'node:net'
import { endianness, networkInterfaces } from 'node:os'
import { overlaps } from '../../kernel/cidr.ts'
import type { Finding } from '../../api/node-report.ts'

/** An IPv4 address, or a range `A.B.C.D/N`, and the device that has it or leads there. */
export interface Place {
  readonly device: string
  readonly network: string
}

/** Which addresses are in use, as far as an agent can see it. */
export interface NetworkFacts {
  /** Addresses of the pod, and its routes but the default ones. */
  readonly pod: readonly Place[]
  /** Routes of the node but the default ones: to the pods of other nodes, or to the machines next to it. */
  readonly node: readonly Place[]
  /** Addresses of name servers, of the API server and of the node. */
  readonly hosts: readonly string[]
  /** The pod has a way out, and none of IPv4. */
  readonly onlySix: boolean
}

/** BuildKit's own (util/appdefaults), and one out of each other private range: clusters rarely use all of them. */
const candidates = ['10.10.0.0/16', '172.29.0.0/16', '192.168.224.0/19', '100.126.0.0/16'] as const
export const [defaultSubnet] = candidates

/** Pods of other nodes are not seen: the networks of clusters are up to this large (Azure 12, GKE 14, most others 16). */
const clusterBits = 12

/** What is in use beside RUN steps. */
const others = ({ pod, node, hosts }: NetworkFacts, bridge: string): string[] => [
  ...[...pod, ...node].flatMap(({ device, network }) => (device === bridge ? [] : [network])),
  ...hosts,
]

/**
 * Addresses for RUN steps. Their network lies in the agent's pod: where the cluster uses the same addresses the pod does not
 * find its way to gateways and other agents any more, nor RUN steps theirs to the cluster.
 * @param bridge the device of RUN steps. One that is there keeps what it has: the CNI plug-in refuses to change it.
 * @returns `A.B.C.D/N`.
 */
export function chooseSubnet(facts: NetworkFacts, bridge: string): string {
  const used = others(facts, bridge)
  const isFree = (range: string): boolean => !used.some((network) => overlaps(range, network))
  const isKept = (range: string): boolean =>
    facts.pod.some(({ device, network }) => device === bridge && overlaps(range, network))
  const isFar = (range: string): boolean => isFree(range.replace(/\d+$/, String(clusterBits)))
  return candidates.find(isKept) ?? candidates.find(isFar) ?? candidates.find(isFree) ?? defaultSubnet
}

/** Findings where addresses of RUN steps are in use around the node, or lead nowhere. */
export function checkSubnet(subnet: string, facts: NetworkFacts, bridge: string): Finding[] {
  const network = others(facts, bridge).find((one) => overlaps(subnet, one))
  const findings: Finding[] = []
  if (facts.onlySix) {
    findings.push({
      code: 'BRIDGE_IPV6_ONLY',
      severity: 'warning',
      message:
        'RUN steps have no way out: BuildKit gives them a network of IPv4, and the pod has a way out for IPv6 only',
      fix: 'set networkMode = "host" under [worker.containerd] in buildkitd.toml to use the node’s network, or "cni" with a configuration of your own',
    })
  }
  if (network !== undefined) {
    findings.push({
      code: 'BRIDGE_SUBNET',
      severity: 'warning',
      message: `the network of RUN steps, ${subnet}, has addresses that are in use around the node: ${network}`,
      fix: 'set bridgeSubnet under [worker.containerd] in buildkitd.toml to a range that neither the cluster uses nor what builds reach',
    })
  }
  return findings
}

/** @param hosts addresses that the agent needs, of its API server for one. */
export async function probeNetworks(hosts: readonly string[]): Promise<NetworkFacts> {
  const read = (file: string): Promise<string> => readFile(file, 'utf8').catch(() => '')
  const table = await read('/proc/self/net/route')
  const addresses = Object.entries(networkInterfaces()).flatMap(([device, all = []]) =>
    all.flatMap(({ address, internal }) => (isIPv4(address) && !internal ? [{ device, network: address }] : [])),
  )
  const servers = [...(await read('/etc/resolv.conf')).matchAll(/^\s*nameserver\s+(\S+)/gm)].map(([, ip]) => ip ?? '')
  return {
    pod: [...parseRoutes(table), ...addresses],
    // Process 1 is the node's.
    node: parseRoutes(await read('/proc/1/net/route')),
    hosts: [...servers, ...hosts].filter((host) => isIPv4(host) && !host.startsWith('127.')),
    onlySix:
      !readRoutes(table).some(({ bits }) => bits === 0) && hasWayOutOfSix(await read('/proc/self/net/ipv6_route')),
  }
}

/** /proc/net/ipv6_route: destination and its length first, the device last. The kernel's own entry, on `lo`, rejects. */
export const hasWayOutOfSix = (table: string): boolean => /^0{32} 00 .* (?!lo$)\S+$/m.test(table)

/** Routes of /proc/net/route, without the default ones, and without halves of all addresses, of which some VPNs make theirs. */
export const parseRoutes = (table: string, order = endianness()): Place[] =>
  readRoutes(table, order).flatMap(({ device, address, bits }) =>
    bits > 1 ? [{ device, network: `${address}/${bits}` }] : [],
  )

/** Numbers are hexadecimal there, in the byte order of the machine. */
function readRoutes(
  table: string,
  order = endianness(),
): { readonly device: string; readonly address: string; readonly bits: number }[] {
  const bytes = (hex: string): Buffer => {
    const read = Buffer.from(hex.padStart(8, '0'), 'hex')
    return order === 'LE' ? read.reverse() : read
  }
  return table
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const [device, destination, , , , , , mask] = line.trim().split(/\s+/)
      if (device === undefined || destination === undefined || mask === undefined) return []
      const bits = 32 - Math.log2(2 ** 32 - bytes(mask).readUInt32BE())
      return [{ device, address: bytes(destination).join('.'), bits }]
    })
}
