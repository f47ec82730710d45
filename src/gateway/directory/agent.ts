import { annotations } from '../../api/names.ts'
import type { Finding, NodeReport } from '../../api/node-report.ts'
import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import { lastEndOf, type RawContainerStatus } from './last-end.ts'
import type { AgentFacts } from '../placement/cluster.ts'

/** core/v1 Pod of an agent, as far as it is read. */
export interface RawAgentPod extends KubernetesObject {
  readonly spec?: { readonly nodeName?: string }
  readonly status?: {
    readonly phase?: string
    readonly podIP?: string
    readonly containerStatuses?: readonly RawContainerStatus[]
  }
}

/** An agent as its pod shows it. */
export interface Agent extends AgentFacts {
  readonly pod: string
  readonly uid: string
  readonly ip: string | undefined
  readonly report: NodeReport | undefined
  /** It could not be reached, and has not answered since. */
  readonly silent?: boolean
  /** When its container ended last, as Kubernetes writes it, and how. */
  readonly ended?: { readonly at: string; readonly words: string } | undefined
}

/** Reads an agent from its pod; undefined while the pod has no node. The pod's node counts, whatever the report says. */
export function readAgent(pod: RawAgentPod): Agent | undefined {
  const node = pod.spec?.nodeName
  const phase = pod.status?.phase
  if (!node || phase === 'Succeeded' || phase === 'Failed') return undefined
  const text = pod.metadata?.annotations?.[annotations.nodeReport]
  const report = text === undefined ? undefined : parseReport(text, node)
  const ip = pod.status?.podIP
  const draining = pod.metadata?.deletionTimestamp !== undefined || report?.state === 'draining'
  const trouble = draining ? 'is being stopped' : troubleOf(text !== undefined, report, ip)
  return {
    node,
    pod: pod.metadata?.name ?? '',
    uid: pod.metadata?.uid ?? '',
    ip,
    report: draining && report ? { ...report, ready: false, state: 'draining' } : report,
    ready: trouble === undefined,
    trouble,
    draining,
    platforms: report?.platforms ?? [],
    ended: lastEndOf(pod.status?.containerStatuses?.find(({ name }) => name === 'agent')),
    ...(report?.nativePlatforms ? { native: report.nativePlatforms } : {}),
    ...(report?.mode === 'rootless' ? { rootless: true } : {}),
  }
}

/** While an agent is replaced its node has two pods: the one that takes builds counts, else one that stays. */
export const chooseAgent = (pods: readonly Agent[]): Agent | undefined =>
  pods.find((a) => a.ready) ?? pods.find((a) => !a.draining) ?? pods[0]

function troubleOf(said: boolean, report: NodeReport | undefined, ip: string | undefined): string | undefined {
  if (!said) return 'has not reported yet'
  if (!report) return 'wrote a report that this gateway cannot read'
  if (!report.ready) {
    const fatal = report.findings.find((f) => f.severity === 'fatal')
    return fatal ? `reports ${fatal.code}: ${fatal.message}` : `is ${report.state}`
  }
  return ip === undefined ? 'has no address yet' : undefined
}

/** The report of an annotation, or undefined for one of another version or shape: agents may be newer than gateways. */
export function parseReport(text: string, node: string): NodeReport | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  const raw = value as Record<string, unknown>
  const string = (key: string): string => (typeof raw[key] === 'string' ? raw[key] : '')
  const state = states.find((s) => s === raw['state'])
  if (raw['version'] !== 1 || typeof raw['ready'] !== 'boolean' || state === undefined) return undefined
  const native = strings(raw['nativePlatforms'])
  return {
    version: 1,
    node,
    ready: raw['ready'],
    state,
    platforms: strings(raw['platforms']) ?? [],
    ...(native ? { nativePlatforms: native } : {}),
    buildkit: string('buildkit'),
    containerd: string('containerd'),
    snapshotter: string('snapshotter'),
    distribution: string('distribution'),
    network: networks.find((n) => n === raw['network']) ?? 'bridge',
    ...(raw['mode'] === 'rootless' ? { mode: 'rootless' as const } : {}),
    ...(typeof raw['imagesRevision'] === 'number' ? { imagesRevision: raw['imagesRevision'] } : {}),
    findings: Array.isArray(raw['findings']) ? raw['findings'].filter(isFinding) : [],
  }
}

const strings = (value: unknown): string[] | undefined =>
  Array.isArray(value) ? value.filter((entry) => typeof entry === 'string') : undefined

const networks = ['bridge', 'host', 'pod'] as const
const states = ['starting', 'ready', 'restarting', 'draining', 'failed'] as const

function isFinding(value: unknown): value is Finding {
  if (typeof value !== 'object' || value === null) return false
  const { code, severity, message, fix } = value as Record<string, unknown>
  return (
    typeof code === 'string' &&
    typeof message === 'string' &&
    (severity === 'fatal' || severity === 'warning' || severity === 'info') &&
    (fix === undefined || typeof fix === 'string')
  )
}
