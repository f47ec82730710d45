import { readFile } from 'node:fs/promises'
import { endianness, networkInterfaces } from 'node:os'
import type { Finding } from '../../api/node-report.ts'

/** A range of IPv4 addresses: the first of them, and how many bits all of them share. */
export interface Network {
  readonly address: number
  readonly bits: number
}

/** Which addresses are in use, as far as an agent can see it. */
export interface NetworkFacts {
  /** Addresses of the pod, of name servers and of the API server; routes of pod and node but the default ones. */
  readonly used: readonly Network[]
  /** What the bridge of RUN steps has already. */
  readonly bridge: readonly Network[]
  /** The pod has a way out, and none of IPv4. */
  readonly onlySix: boolean
}

/** BuildKit's own (util/appdefaults), and one out of each other private range: clusters rarely use all of them. */
const candidates = ['10.10.0.0/16', '172.29.0.0/16', '192.168.224.0/19', '100.126.0.0/16'] as const
export const [defaultSubnet] = candidates

/** Pods of other nodes are not seen: the networks of clusters are up to this large (Azure 12, GKE 14, most others 16). */
const clusterBits = 12

/**
 * Addresses for RUN steps. Their network lies in the agent's pod: where the cluster uses the same addresses the pod does not
 * find its way to gateways and other agents any more, nor RUN steps theirs to the cluster.
 * @returns `A.B.C.D/N`. A bridge that is there keeps what it has: the CNI plug-in refuses to change it.
 */
export function chooseSubnet({ used, bridge }: Omit<NetworkFacts, 'onlySix'>): string {
  const known = candidates.find((candidate) => bridge.some((network) => overlaps(candidate, network)))
  const far = (candidate: string): boolean => !used.some((network) => overlaps(candidate, network, clusterBits))
  const free = (candidate: string): boolean => !used.some((network) => overlaps(candidate, network))
  return known ?? candidates.find(far) ?? candidates.find(free) ?? defaultSubnet
}

/** Findings where addresses of RUN steps are in use around the node, or lead nowhere. */
export function checkSubnet(subnet: string, { used, onlySix }: NetworkFacts): Finding[] {
  const network = used.find((one) => overlaps(subnet, one))
  const findings: Finding[] = []
  if (onlySix) {
    findings.push({
      code: 'BRIDGE_IPV6_ONLY',
      severity: 'warning',
      message:
        'RUN steps have no way out: BuildKit gives them a network of IPv4, and the pod has a way out for IPv6 only',
      fix: 'set networkMode = "host" under [worker.containerd] in buildkitd.toml to use the node’s network, or "cni" with a configuration of your own',
    })
  }
  if (network) {
    findings.push({
      code: 'BRIDGE_SUBNET',
      severity: 'warning',
      message: `the network of RUN steps, ${subnet}, has addresses that are in use around the node: ${format(network)}`,
      fix: 'set bridgeSubnet under [worker.containerd] in buildkitd.toml to a range that neither the cluster uses nor what builds reach',
    })
  }
  return findings
}

/** @param bridge the device of RUN steps. @param hosts addresses that the agent needs, of its API server for one. */
export async function probeNetworks(bridge: string, hosts: readonly string[]): Promise<NetworkFacts> {
  const read = (file: string): Promise<string> => readFile(file, 'utf8').catch(() => '')
  const table = await read('/proc/self/net/route')
  const own = parseRoutes(table)
  // Process 1 is the node's: its routes lead to the pods of other nodes, or to the machines next to it.
  const node = parseRoutes(await read('/proc/1/net/route'))
  const addresses = Object.entries(networkInterfaces()).flatMap(([device, all = []]) =>
    device === bridge ? [] : all.map(({ address }) => address),
  )
  const servers = [...(await read('/etc/resolv.conf')).matchAll(/^\s*nameserver\s+(\S+)/gm)].map(([, ip]) => ip ?? '')
  return {
    used: [
      ...[...own, ...node].filter(({ device }) => device !== bridge),
      ...[...addresses, ...servers, ...hosts]
        .flatMap((host) => parse(`${host}/32`) ?? [])
        .filter(({ address }) => address >>> 24 !== loopback),
    ],
    bridge: own.filter(({ device }) => device === bridge),
    onlySix: !hasWayOut(table) && hasWayOutOfSix(await read('/proc/self/net/ipv6_route')),
  }
}

const hasWayOut = (table: string): boolean => /^\S+\s+00000000\s(?:\S+\s+){5}00000000\s/m.test(table)

/** /proc/net/ipv6_route: destination and its length first, the device last. The kernel's own entry, on `lo`, rejects. */
export const hasWayOutOfSix = (table: string): boolean => /^0{32} 00 .* (?!lo$)\S+$/m.test(table)

const loopback = 127

/**
 * Reads /proc/net/route: numbers in hexadecimal, in the byte order of the machine. Default routes are left out, and halves of
 * all addresses, of which some VPNs make theirs.
 */
export function parseRoutes(table: string, order = endianness()): (Network & { readonly device: string })[] {
  const number = (hex: string): number => {
    const bytes = Buffer.from(hex.padStart(8, '0'), 'hex')
    return order === 'LE' ? bytes.readUInt32LE() : bytes.readUInt32BE()
  }
  return table
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const [device, destination, , , , , , mask] = line.trim().split(/\s+/)
      if (device === undefined || destination === undefined || mask === undefined) return []
      const bits = 32 - Math.log2(2 ** 32 - number(mask))
      return bits > 1 ? [{ device, address: number(destination), bits }] : []
    })
}

/** undefined: not of IPv4. */
function parse(text: string): Network | undefined {
  const match = /^(\d+)\.(\d+)\.(\d+)\.(\d+)\/(\d+)$/.exec(text)
  if (!match) return undefined
  const [a = 256, b = 256, c = 256, d = 256, bits = 33] = match.slice(1).map(Number)
  if (Math.max(a, b, c, d) > 255 || bits > 32) return undefined
  return { address: a * 2 ** 24 + b * 2 ** 16 + c * 2 ** 8 + d, bits }
}

/** @param most bits of the subnet that count. A subnet that is not one of IPv4 overlaps nothing. */
function overlaps(subnet: string, network: Network, most = 32): boolean {
  const wanted = parse(subnet)
  if (!wanted) return false
  const size = 2 ** (32 - Math.min(wanted.bits, network.bits, most))
  return Math.floor(wanted.address / size) === Math.floor(network.address / size)
}

const format = ({ address, bits }: Network): string =>
  `${[24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join('.')}${bits === 32 ? '' : `/${bits}`}`
