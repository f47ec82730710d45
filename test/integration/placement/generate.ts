import type { Random } from '../../random.ts'

/** Plain objects of a made-up cluster: everything that kube-scheduler filters by turns up, often enough to matter. */

type Fields = Record<string, unknown>

export const namespaces: Readonly<Record<string, Record<string, string>>> = {
  red: { team: 'x', env: 'prod' },
  blue: { team: 'x' },
  green: { team: 'y', env: 'test' },
}

const zones = ['a', 'b', 'c']
const apps = ['web', 'db', 'queue']
const zoneKey = 'topology.kubernetes.io/zone'
const hostKey = 'kubernetes.io/hostname'
const taintKeys = ['gpu', 'special', 'node.kubernetes.io/not-ready']
const effects = ['NoSchedule', 'NoExecute', 'PreferNoSchedule']

export interface MadeNode {
  readonly metadata: { readonly name: string; readonly labels: Record<string, string> }
  readonly spec: Fields
  readonly status: Fields
}

export function makeNode(r: Random, name: string): MadeNode {
  const labels: Record<string, string> = { [hostKey]: name }
  if (r.chance(0.85)) labels[zoneKey] = r.pick(zones)
  if (r.chance(0.7)) labels['rack'] = r.pick(['1', '2', '3', '4'])
  if (r.chance(0.6)) labels['disk'] = r.pick(['ssd', 'hdd'])
  if (r.chance(0.6)) labels['cores'] = r.pick(['4', '8', '16', '08', 'many'])
  const taints = r.chance(0.3)
    ? [{ key: r.pick(taintKeys), value: r.pick(['', 'a', 'b']), effect: r.pick(effects) }]
    : []
  const spec = { taints, ...(r.chance(0.08) ? { unschedulable: true } : {}) }
  const allocatable: Record<string, string> = {
    cpu: r.pick(['2', '4', '3500m', '8']),
    memory: r.pick(['4Gi', '8000Mi', '2147483648', '16G']),
    pods: r.pick(['4', '110', '110', '110']),
    'ephemeral-storage': r.pick(['10Gi', '100Gi']),
  }
  if (r.chance(0.3)) allocatable['example.com/gpu'] = r.pick(['1', '2'])
  if (r.chance(0.3)) allocatable['hugepages-2Mi'] = '64Mi'
  return { metadata: { name, labels }, spec, status: { allocatable, capacity: allocatable } }
}

export interface MadePod {
  readonly metadata: { readonly name: string; readonly namespace: string; readonly labels: Record<string, string> }
  readonly spec: Fields
}

function makeRequests(r: Random): Fields {
  const requests: Record<string, string> = {}
  if (r.chance(0.6)) requests['cpu'] = r.pick(['100m', '500m', '1', '1500m', '0.25', '2'])
  if (r.chance(0.6)) requests['memory'] = r.pick(['64Mi', '512Mi', '1Gi', '1e9', '2500M'])
  if (r.chance(0.15)) requests['ephemeral-storage'] = r.pick(['1Gi', '9Gi'])
  const limits: Record<string, string> = {}
  if (r.chance(0.12)) limits['example.com/gpu'] = r.pick(['1', '2'])
  if (r.chance(0.08)) limits['hugepages-2Mi'] = '32Mi'
  if (requests['cpu'] === undefined && r.chance(0.2)) limits['cpu'] = '750m'
  // Huge pages and extended resources are requested by their limit; huge pages need a processor or memory besides.
  if (limits['hugepages-2Mi'] !== undefined) requests['memory'] ??= '64Mi'
  return { requests: { ...requests }, limits }
}

function makeContainer(r: Random, name: string, ports: number): Fields {
  return {
    name,
    image: 'example.test/app:1',
    resources: makeRequests(r),
    ...(r.chance(ports)
      ? {
          ports: [
            {
              containerPort: 80,
              hostPort: r.pick([8080, 8081]),
              protocol: r.pick(['TCP', 'UDP']),
              ...(r.chance(0.4) ? { hostIP: r.pick(['10.0.0.1', '10.0.0.2', '0.0.0.0']) } : {}),
            },
          ],
        }
      : {}),
  }
}

function makeSelector(r: Random): Fields {
  if (r.chance(0.06)) return {}
  if (r.chance(0.6)) return { matchLabels: { app: r.pick(apps) } }
  const operator = r.pick(['In', 'NotIn', 'Exists', 'DoesNotExist'])
  const values = operator === 'In' || operator === 'NotIn' ? { values: r.some(apps, 0.6).concat('other') } : {}
  return { matchExpressions: [{ key: r.pick(['app', 'tier']), operator, ...values }] }
}

function makeTerm(r: Random): Fields {
  return {
    topologyKey: r.pick([zoneKey, hostKey, hostKey, 'rack']),
    labelSelector: makeSelector(r),
    ...(r.chance(0.15) ? { namespaces: r.some(Object.keys(namespaces), 0.6) } : {}),
    ...(r.chance(0.2) ? { namespaceSelector: r.pick([{}, { matchLabels: { team: 'x' } }]) } : {}),
    ...(r.chance(0.15) ? { [r.pick(['matchLabelKeys', 'mismatchLabelKeys'])]: ['version'] } : {}),
  }
}

function makeNodeAffinity(r: Random, nodes: readonly string[]): Fields {
  const requirement = (): Fields => {
    const operator = r.pick(['In', 'In', 'NotIn', 'Exists', 'DoesNotExist', 'Gt', 'Lt'])
    if (operator === 'Gt' || operator === 'Lt') return { key: 'cores', operator, values: [r.pick(['4', '7', '8'])] }
    const key = r.pick([zoneKey, 'disk', 'rack'])
    const values = { [zoneKey]: zones, disk: ['ssd', 'hdd'], rack: ['1', '2', '3'] }[key] ?? []
    return operator.includes('In') ? { key, operator, values: [r.pick(values), r.pick(values)] } : { key, operator }
  }
  const term = (): Fields => ({
    ...(r.chance(0.9) ? { matchExpressions: r.chance(0.7) ? [requirement()] : [requirement(), requirement()] } : {}),
    ...(r.chance(0.15)
      ? { matchFields: [{ key: 'metadata.name', operator: r.pick(['In', 'NotIn']), values: [r.pick(nodes)] }] }
      : {}),
  })
  return {
    requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: r.chance(0.6) ? [term()] : [term(), term()] },
  }
}

function makeSpread(r: Random): Fields {
  return {
    topologyKey: r.pick([zoneKey, zoneKey, hostKey, 'rack']),
    maxSkew: r.pick([1, 1, 2, 3]),
    whenUnsatisfiable: r.chance(0.85) ? 'DoNotSchedule' : 'ScheduleAnyway',
    labelSelector: makeSelector(r),
    ...(r.chance(0.3) ? { nodeAffinityPolicy: r.pick(['Honor', 'Ignore']) } : {}),
    ...(r.chance(0.3) ? { nodeTaintsPolicy: r.pick(['Honor', 'Ignore']) } : {}),
    ...(r.chance(0.2) ? { matchLabelKeys: ['version'] } : {}),
  }
}

function makeToleration(r: Random): Fields {
  const effect = r.chance(0.6) ? { effect: r.pick(effects) } : {}
  if (r.chance(0.15)) return { operator: 'Exists', ...effect }
  const key = r.pick([...taintKeys, 'node.kubernetes.io/unschedulable'])
  return r.chance(0.5)
    ? { key, operator: 'Exists', ...effect }
    : { key, ...(r.chance(0.5) ? { operator: 'Equal' } : {}), value: r.pick(['', 'a', 'b']), ...effect }
}

const makeLabels = (r: Random): Record<string, string> => ({
  app: r.pick(apps),
  ...(r.chance(0.5) ? { tier: r.pick(['front', 'back']) } : {}),
  ...(r.chance(0.5) ? { version: r.pick(['1', '2']) } : {}),
})

/** What pods that are on nodes and pods that look for one have in common. */
function makeBase(r: Random, name: string): MadePod {
  const sidecar = r.chance(0.1) ? [{ ...makeContainer(r, 'sidecar', 0.2), restartPolicy: 'Always' }] : []
  const init = r.chance(0.2) ? [makeContainer(r, 'init', 0)] : []
  const initContainers = r.chance(0.5) ? [...sidecar, ...init] : [...init, ...sidecar]
  const containers = [makeContainer(r, 'app', 0.15), ...(r.chance(0.2) ? [makeContainer(r, 'second', 0)] : [])]
  const podLevel = r.chance(0.08) ? { resources: { requests: { cpu: '3', memory: '3Gi' } } } : {}
  const limitOnly = r.chance(0.04) ? { resources: { limits: { cpu: '5', memory: '6Gi' } } } : {}
  const spec: Fields = {
    containers,
    initContainers,
    ...podLevel,
    ...limitOnly,
    ...(r.chance(0.08) ? { runtimeClassName: 'heavy' } : {}),
    ...(r.chance(0.03) ? { hostNetwork: true } : {}),
  }
  const namespace = r.pick(['red', 'red', ...Object.keys(namespaces)])
  return { metadata: { name, namespace, labels: makeLabels(r) }, spec }
}

export function makeResident(r: Random, name: string, node: string): MadePod {
  const { metadata, spec } = makeBase(r, name)
  const anti = r.chance(0.2)
    ? { affinity: { podAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [makeTerm(r)] } } }
    : {}
  return { metadata, spec: { ...spec, ...anti, nodeName: node, terminationGracePeriodSeconds: 600 } }
}

/** A pod that looks for a node. */
export function makeCandidate(r: Random, name: string, nodes: readonly string[]): MadePod {
  const { metadata, spec } = makeBase(r, name)
  const terms = (probability: number): Fields | undefined =>
    r.chance(probability)
      ? { requiredDuringSchedulingIgnoredDuringExecution: r.chance(0.7) ? [makeTerm(r)] : [makeTerm(r), makeTerm(r)] }
      : undefined
  const affinity = {
    nodeAffinity: r.chance(0.25) ? makeNodeAffinity(r, nodes) : undefined,
    podAffinity: terms(0.2),
    podAntiAffinity: terms(0.25),
  }
  const claim = r.chance(0.12) ? [{ name: 'data', persistentVolumeClaim: { claimName: r.pick(claimNames) } }] : []
  const spread = r.chance(0.35) ? (r.chance(0.75) ? [makeSpread(r)] : [makeSpread(r), makeSpread(r)]) : []
  const [first] = spread
  if (first?.['whenUnsatisfiable'] === 'DoNotSchedule' && r.chance(0.5)) first['minDomains'] = r.pick([1, 3, 4, 20])
  return {
    metadata,
    spec: {
      ...spec,
      affinity,
      ...(r.chance(0.15) ? { nodeSelector: r.pick([{ disk: 'ssd' }, { [zoneKey]: 'a' }, { rack: '1' }]) } : {}),
      tolerations: r.chance(0.4) ? [makeToleration(r), makeToleration(r)] : [],
      topologySpreadConstraints: spread,
      volumes: claim,
    },
  }
}

/** Claims that are bound, by the volume behind them. The same in every world. */
const volumes: Readonly<Record<string, Fields>> = {
  everywhere: {},
  zonal: { nodeAffinity: needs(zoneKey, ['a', 'b']) },
  local: { nodeAffinity: needs(hostKey, ['n0', 'n1', 'n2']) },
  labelled: { labels: { [zoneKey]: 'c' } },
  several: { labels: { [zoneKey]: 'a__c' } },
}

const claimNames = Object.keys(volumes)

function needs(key: string, values: readonly string[]): Fields {
  return { required: { nodeSelectorTerms: [{ matchExpressions: [{ key, operator: 'In', values }] }] } }
}

/** Volumes with a claim in each namespace. */
export function makeVolumes(): { readonly volumes: Fields[]; readonly claims: Fields[] } {
  const made: { volumes: Fields[]; claims: Fields[] } = { volumes: [], claims: [] }
  const resources = { requests: { storage: '1Gi' } }
  const common = { accessModes: ['ReadWriteMany'], storageClassName: 'manual' }
  for (const [name, { labels = {}, nodeAffinity }] of Object.entries(volumes)) {
    for (const namespace of Object.keys(namespaces)) {
      const volume = `${namespace}-${name}`
      made.volumes.push({
        ...{ apiVersion: 'v1', kind: 'PersistentVolume', metadata: { name: volume, labels } },
        spec: {
          ...common,
          capacity: { storage: '1Gi' },
          hostPath: { path: '/data' },
          claimRef: { namespace, name },
          ...(nodeAffinity === undefined ? {} : { nodeAffinity }),
        },
      })
      made.claims.push({
        ...{ apiVersion: 'v1', kind: 'PersistentVolumeClaim' },
        metadata: { name, namespace, annotations: { 'pv.kubernetes.io/bind-completed': 'yes' } },
        spec: { ...common, resources, volumeName: volume },
      })
    }
  }
  return made
}
