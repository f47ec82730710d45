import type { NodeFacts, VolumeFacts } from '../facts.ts'
import { matchesNodeAffinity } from '../scheduling/node-filters.ts'
import type { Labels } from '../scheduling/selector.ts'

/** Claims and the volumes they are bound to. */
export interface Volumes {
  /** `undefined` volume: the claim is not bound. */
  setClaim(key: string, volume: string | undefined): void
  setVolume(name: string, facts: VolumeFacts | undefined): void
  /** The volumes with limits behind claims of a namespace; claims that are unknown or not bound have none. */
  behind(namespace: string, claims: readonly string[]): VolumeFacts[]
}

export function createVolumes(): Volumes {
  const claims = new Map<string, string>()
  const volumes = new Map<string, VolumeFacts>()
  const update = <V>(map: Map<string, V>, key: string, value: V | undefined): void => {
    if (value === undefined) map.delete(key)
    else map.set(key, value)
  }
  return {
    setClaim: (key, volume) => update(claims, key, volume),
    setVolume: (name, facts) => update(volumes, name, facts),
    behind: (namespace, names) => names.flatMap((name) => volumes.get(claims.get(`${namespace}/${name}`) ?? '') ?? []),
  }
}

export const zoneLabels = [
  'failure-domain.beta.kubernetes.io/zone',
  'failure-domain.beta.kubernetes.io/region',
  'topology.kubernetes.io/zone',
  'topology.kubernetes.io/region',
] as const

const stable: Readonly<Record<string, string>> = {
  'failure-domain.beta.kubernetes.io/zone': 'topology.kubernetes.io/zone',
  'failure-domain.beta.kubernetes.io/region': 'topology.kubernetes.io/region',
}

/** The VolumeBinding plug-in for volumes that are bound, and the VolumeZone plug-in. */
export function reachesVolume(node: NodeFacts, volume: VolumeFacts): boolean {
  // A volume's terms look at labels only.
  const terms = volume.terms?.map(({ matchExpressions = [] }) => ({ matchExpressions }))
  if (terms && !matchesNodeAffinity(node, { nodeName: undefined, nodeSelector: {}, terms, tolerations: [] }))
    return false
  if (volume.zones.size === 0 || !zoneLabels.some((label) => node.labels[label] !== undefined)) return true
  for (const [label, values] of volume.zones) {
    const value = node.labels[label] ?? node.labels[stable[label] ?? label]
    if (value === undefined || !values.includes(value)) return false
  }
  return true
}

/** Zones of a volume's labels; several are joined by `__`. */
export function readZones(labels: Labels): ReadonlyMap<string, readonly string[]> {
  return new Map(
    zoneLabels.flatMap((label) => (labels[label] === undefined ? [] : [[label, labels[label].split('__')]])),
  )
}
