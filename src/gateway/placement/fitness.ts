import type { PlacementRequest } from './placer.ts'
import type { AgentFacts, ClusterView, NodeFacts } from './cluster.ts'

/** Why a node was not taken. */
export interface Rejection {
  readonly node: string
  /** The same text for all nodes with the same trouble, so that they can be counted: `cordoned`. */
  readonly reason: string
  /** More, for this node only. */
  readonly detail?: string | undefined
}

/** What else a build wants of its node. */
export type Wishes = Pick<PlacementRequest, 'nativeOnly' | 'stays'>

/**
 * Why no build can go to this node at all, whoever asks; undefined if it can. A node under pressure or on its way out
 * drains: what runs there ends, nothing begins. A cordoned node still builds for pods that are on it already: see
 * `unwelcoming`.
 */
export function cannotBuild(
  view: Pick<ClusterView, 'nodes' | 'agents'>,
  name: string,
  platforms: readonly string[],
  { nativeOnly = false, stays = false }: Wishes = {},
): Rejection | undefined {
  const node = view.nodes.get(name)
  const agent = view.agents.get(name)
  const reject = (reason: string, detail?: string): Rejection => ({ node: name, reason, detail })
  if (!node) return reject('no such node')
  if (!agent) return reject('no agent')
  if (node.leaving !== undefined) return reject('going away', node.leaving)
  if (!node.ready) return reject('not ready', 'the kubelet does not report')
  if (agent.draining) return reject('draining', 'its agent is being stopped')
  if (!agent.ready) return reject('agent not ready', agent.trouble)
  const [pressure] = node.pressure
  if (pressure !== undefined) return reject(pressure, 'the kubelet is making room there')
  if (stays && agent.rootless) return reject('cannot keep images', 'it builds rootless: push the image instead')
  const missing = platforms.find((p) => !agent.platforms.some((own) => samePlatform(own, p)))
  if (missing !== undefined) return reject(`cannot build ${missing}`, `it can ${agent.platforms.join(', ')}`)
  const emulated = nativeOnly ? platforms.find((p) => !isNative(node, p, agent)) : undefined
  if (emulated !== undefined) {
    return reject(`would emulate ${emulated}`, `natively it runs ${agent.native?.join(', ') ?? node.platform}`)
  }
  return undefined
}

/** Why a node that can build should get no build that could go elsewhere; undefined if nothing speaks against it. */
export function unwelcoming(node: NodeFacts): Rejection | undefined {
  return node.unschedulable ? { node: node.name, reason: 'cordoned' } : undefined
}

/**
 * Runs on the node's own processor, without emulation: as its agent says of processors of the node's family, else by what
 * Kubernetes says of the node. Variants are left out then: the kernel decides about those.
 */
export function isNative(
  node: Pick<NodeFacts, 'platform'>,
  platform: string,
  agent?: Pick<AgentFacts, 'native'>,
): boolean {
  const [os = '', arch = ''] = platform.split('/')
  if (!agent?.native) return `${os}/${arch}` === node.platform
  // An agent knows what needs no emulator of its kernel, which is more than the node is meant to be where the node itself
  // is emulated.
  const [nodeOs, nodeArch = ''] = node.platform.split('/')
  if (os !== nodeOs || familyOf(arch) !== familyOf(nodeArch)) return false
  return agent.native.some((own) => samePlatform(own, platform))
}

/** 64-bit processors run the programs of their 32-bit ancestors, if anybody does. */
const familyOf = (arch: string): string => families[arch] ?? arch
const families: Readonly<Record<string, string>> = { '386': 'amd64', arm: 'arm64', mips: 'mips64', mipsle: 'mips64le' }

/** `linux/arm64` and `linux/arm64/v8` are the same; other variants count (OCI image-spec, containerd/platforms). */
export function samePlatform(a: string, b: string): boolean {
  return canonical(a) === canonical(b)
}

const defaultVariants: Readonly<Record<string, string>> = { arm64: 'v8', arm: 'v7', amd64: 'v1' }

function canonical(platform: string): string {
  const [os = '', arch = '', variant] = platform.toLowerCase().split('/')
  return `${os}/${arch}/${variant ?? defaultVariants[arch] ?? ''}`
}

/** `0/5 nodes can build: 2 cordoned, 3 no agent`, most frequent first. */
export function summarize(total: number, rejections: readonly Rejection[], what = 'can build'): string {
  const counts = new Map<string, number>()
  for (const { reason } of rejections) counts.set(reason, (counts.get(reason) ?? 0) + 1)
  const parts = [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)).map(([reason, n]) => `${n} ${reason}`)
  const head = `${total - rejections.length}/${total} nodes ${what}`
  return parts.length === 0 ? head : `${head}: ${parts.join(', ')}`
}
