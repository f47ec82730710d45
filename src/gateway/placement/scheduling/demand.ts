import type { NodeTerm, RawPodAffinityTerm, RawPodSpec, RawSpread, Toleration } from './pod-spec.ts'
import { podRequests, type Amounts, type RequestsOptions } from './requests.ts'
import { readSelector, type Labels, type Requirement, type Selector } from './selector.ts'

/** What of a pod does not depend on other pods. The same object for equal ones, see `intern.ts`. */
export interface NodeDemand {
  readonly nodeName: string | undefined
  readonly nodeSelector: Labels
  /** Required node affinity: one of the terms must hold. Undefined: no affinity; empty: no node matches. */
  readonly terms: readonly NodeTerm[] | undefined
  readonly tolerations: readonly Toleration[]
}

export interface HostPort {
  /** `0.0.0.0` for all addresses. */
  readonly ip: string
  readonly protocol: string
  readonly port: number
}

/** A required pod affinity or anti-affinity term. */
export interface PodTerm {
  readonly topologyKey: string
  /** Undefined matches no pod. */
  readonly selector: Selector | undefined
  readonly namespaces: readonly string[]
  readonly namespaceSelector: Selector | undefined
}

/** A topology spread constraint with `DoNotSchedule`. */
export interface Spread {
  readonly topologyKey: string
  readonly selector: Selector | undefined
  readonly maxSkew: number
  readonly minDomains: number
  readonly honorAffinity: boolean
  readonly honorTaints: boolean
}

/** Everything kube-scheduler asks of a node before it takes a pod. */
export interface Demand {
  readonly namespace: string
  readonly labels: Labels
  readonly node: NodeDemand
  readonly requests: Amounts
  readonly ports: readonly HostPort[]
  readonly affinity: readonly PodTerm[]
  readonly antiAffinity: readonly PodTerm[]
  readonly spread: readonly Spread[]
  /**
   * Names of claims in the pod's namespace: alternatives, each a list that must be usable as a whole. A StatefulSet's
   * pods have different claims; empty: no claims.
   */
  readonly claims: readonly (readonly string[])[]
}

export interface DemandSource {
  readonly namespace: string
  readonly labels: Labels
  readonly spec: RawPodSpec
  /** A template: what the API server would add when a pod is made of it is added here. */
  readonly template?: boolean
  readonly requests?: RequestsOptions
}

/** The DefaultTolerationSeconds admission plug-in gives these to every pod. */
const defaultTolerations: readonly Toleration[] = ['not-ready', 'unreachable'].map((name) => ({
  key: `node.kubernetes.io/${name}`,
  operator: 'Exists',
  effect: 'NoExecute',
}))

export function readDemand({ namespace, labels, spec, template = false, requests }: DemandSource): Demand {
  const tolerations = spec.tolerations ?? []
  return {
    namespace,
    labels,
    node: {
      ...readNodeDemand(spec),
      tolerations: template ? [...tolerations, ...defaultTolerations] : tolerations,
    },
    requests: podRequests(spec, requests),
    ports: hostPorts(spec),
    affinity: (spec.affinity?.podAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? []).map((term) =>
      readTerm(term, namespace, labels),
    ),
    antiAffinity: readAntiAffinity(spec, namespace, labels),
    spread: (spec.topologySpreadConstraints ?? [])
      .filter((c) => c.whenUnsatisfiable === 'DoNotSchedule')
      .map((c) => readSpread(c, labels)),
    claims: readClaims(spec),
  }
}

function readNodeDemand(spec: RawPodSpec): NodeDemand {
  const required = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution
  return {
    nodeName: spec.nodeName || undefined,
    nodeSelector: spec.nodeSelector ?? {},
    terms: required === undefined ? undefined : (required.nodeSelectorTerms ?? []),
    tolerations: spec.tolerations ?? [],
  }
}

export function readAntiAffinity(spec: RawPodSpec, namespace: string, labels: Labels): readonly PodTerm[] {
  const terms = spec.affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? []
  return terms.map((term) => readTerm(term, namespace, labels))
}

/** Host ports of containers that run all the time; in the node's network every port is one. */
export function hostPorts(spec: RawPodSpec): readonly HostPort[] {
  const sidecars = (spec.initContainers ?? []).filter((c) => c.restartPolicy === 'Always')
  return [...sidecars, ...(spec.containers ?? [])].flatMap((container) =>
    (container.ports ?? []).flatMap(({ hostPort = 0, containerPort = 0, hostIP, protocol }) => {
      const port = hostPort > 0 ? hostPort : spec.hostNetwork ? containerPort : 0
      return port > 0 ? [{ ip: hostIP || '0.0.0.0', protocol: protocol || 'TCP', port }] : []
    }),
  )
}

function readTerm(term: RawPodAffinityTerm, namespace: string, labels: Labels): PodTerm {
  const own = (term.namespaces ?? []).length === 0 && term.namespaceSelector === undefined
  const selector = readSelector(term.labelSelector)
  return {
    topologyKey: term.topologyKey,
    // The API server writes these keys into the selectors of pods; of a template they are still apart.
    selector: selector && [
      ...selector,
      ...fromKeys(term.matchLabelKeys, 'In', labels),
      ...fromKeys(term.mismatchLabelKeys, 'NotIn', labels),
    ],
    namespaces: own ? [namespace] : (term.namespaces ?? []),
    namespaceSelector: readSelector(term.namespaceSelector),
  }
}

function readSpread(c: RawSpread, labels: Labels): Spread {
  const selector = readSelector(c.labelSelector)
  return {
    topologyKey: c.topologyKey,
    selector: selector && [...selector, ...fromKeys(c.matchLabelKeys, 'In', labels)],
    maxSkew: c.maxSkew,
    minDomains: c.minDomains ?? 1,
    honorAffinity: c.nodeAffinityPolicy !== 'Ignore',
    honorTaints: c.nodeTaintsPolicy === 'Honor',
  }
}

const fromKeys = (keys: readonly string[] | undefined, operator: string, labels: Labels): Requirement[] =>
  (keys ?? []).flatMap((key) => {
    const value = labels[key]
    return value === undefined ? [] : [{ key, operator, values: [value] }]
  })

function readClaims(spec: RawPodSpec): readonly (readonly string[])[] {
  const names = (spec.volumes ?? []).flatMap((v) => v.persistentVolumeClaim?.claimName ?? [])
  return names.length === 0 ? [] : [names]
}
