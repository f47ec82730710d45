import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import type { NodeFacts, Taint } from './cluster.ts'
import { leaving } from './leaving.ts'
import { readAmounts } from './scheduling/requests.ts'

/** core/v1 Node, as far as it is read. */
export interface RawNode extends KubernetesObject {
  readonly spec?: {
    readonly podCIDRs?: readonly string[]
    readonly unschedulable?: boolean
    readonly taints?: readonly { readonly key: string; readonly value?: string; readonly effect: string }[]
  }
  readonly status?: {
    readonly addresses?: readonly { readonly type: string; readonly address: string }[]
    readonly allocatable?: Readonly<Record<string, string>>
    readonly conditions?: readonly { readonly type: string; readonly status: string; readonly message?: string }[]
    readonly nodeInfo?: { readonly operatingSystem?: string; readonly architecture?: string }
  }
}

/** Conditions, and the taints that the node controller makes of them or that somebody sets by hand. */
const pressures: Readonly<Record<string, string>> = {
  DiskPressure: 'node.kubernetes.io/disk-pressure',
  MemoryPressure: 'node.kubernetes.io/memory-pressure',
  PIDPressure: 'node.kubernetes.io/pid-pressure',
}

export function readNode(node: RawNode): NodeFacts {
  const conditions = node.status?.conditions ?? []
  const tainted = new Set(node.spec?.taints?.map((t) => t.key))
  const labels = node.metadata?.labels ?? {}
  const os = node.status?.nodeInfo?.operatingSystem ?? labels['kubernetes.io/os'] ?? 'linux'
  const arch = node.status?.nodeInfo?.architecture ?? labels['kubernetes.io/arch'] ?? ''
  return {
    name: node.metadata?.name ?? '',
    ready: conditions.some((c) => c.type === 'Ready' && c.status === 'True'),
    unschedulable: node.spec?.unschedulable === true,
    pressure: Object.entries(pressures)
      .filter(([type, taint]) => conditions.some((c) => c.type === type && c.status === 'True') || tainted.has(taint))
      .map(([type]) => type),
    leaving: leaving({
      deleted: node.metadata?.deletionTimestamp !== undefined,
      taints: tainted,
      notReady: conditions.find((c) => c.type === 'Ready' && c.status === 'False')?.message,
    }),
    platform: `${os}/${arch}`,
    labels,
    taints: (node.spec?.taints ?? []).map((t): Taint => ({ key: t.key, value: t.value ?? '', effect: t.effect })),
    allocatable: readAmounts(node.status?.allocatable),
    addresses: (node.status?.addresses ?? []).filter(({ type }) => type.endsWith('IP')).map(({ address }) => address),
    podRanges: node.spec?.podCIDRs ?? [],
  }
}
