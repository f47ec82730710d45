import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import type { NodeFacts, Taint } from './cluster.ts'
import { readAmounts } from './scheduling/requests.ts'

/** core/v1 Node, as far as it is read. */
export interface RawNode extends KubernetesObject {
  readonly spec?: {
    readonly unschedulable?: boolean
    readonly taints?: readonly { readonly key: string; readonly value?: string; readonly effect: string }[]
  }
  readonly status?: {
    readonly allocatable?: Readonly<Record<string, string>>
    readonly conditions?: readonly { readonly type: string; readonly status: string }[]
    readonly nodeInfo?: { readonly operatingSystem?: string; readonly architecture?: string }
  }
}

const pressures = new Set(['DiskPressure', 'MemoryPressure', 'PIDPressure'])

export function readNode(node: RawNode): NodeFacts {
  const conditions = node.status?.conditions ?? []
  const labels = node.metadata?.labels ?? {}
  const os = node.status?.nodeInfo?.operatingSystem ?? labels['kubernetes.io/os'] ?? 'linux'
  const arch = node.status?.nodeInfo?.architecture ?? labels['kubernetes.io/arch'] ?? ''
  return {
    name: node.metadata?.name ?? '',
    ready: conditions.some((c) => c.type === 'Ready' && c.status === 'True'),
    unschedulable: node.spec?.unschedulable === true,
    pressure: conditions.filter((c) => pressures.has(c.type) && c.status === 'True').map((c) => c.type),
    platform: `${os}/${arch}`,
    labels,
    taints: (node.spec?.taints ?? []).map((t): Taint => ({ key: t.key, value: t.value ?? '', effect: t.effect })),
    allocatable: readAmounts(node.status?.allocatable),
  }
}
