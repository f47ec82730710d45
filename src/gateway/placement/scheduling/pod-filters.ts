import type { NodeSlot, Profile } from '../facts.ts'
import type { Masks } from '../model/masks.ts'
import type { Profiles } from '../model/profiles.ts'
import { reachesVolume, type Volumes } from '../model/volumes.ts'
import type { Demand, HostPort, PodTerm, Spread } from './demand.ts'
import { matchesSelector, type Labels } from './selector.ts'

/** What other pods, volumes and namespaces say about where a pod can go. */
export interface PodWorld {
  readonly profiles: Profiles
  readonly volumes: Volumes
  readonly masks: Masks
  /** Labels of a namespace. */
  namespaceLabels(namespace: string): Labels
}

/** Says why a node does not take the pod, in kube-scheduler's words where it has some; undefined if it does. */
export type PodFilter = (slot: NodeSlot) => string | undefined

/**
 * The plug-ins that look at other pods and at volumes: NodeResourcesFit, NodePorts, InterPodAffinity,
 * PodTopologySpread, VolumeBinding and VolumeZone for volumes that are bound. What follows from the whole cluster is
 * worked out here, once for a pod; the function that is returned then looks at single nodes.
 * @param leaving pods that will be gone when this one comes, because it replaces them
 */
export function podFilter(world: PodWorld, demand: Demand, leaving: ReadonlySet<Profile> = new Set()): PodFilter {
  const checks: PodFilter[] = [resourceCheck(demand, leaving)]
  if (demand.ports.length > 0) checks.push(portCheck(demand.ports, leaving))
  if (demand.claims.length > 0) checks.push(volumeCheck(world, demand))
  if (demand.spread.length > 0) checks.push(...spreadChecks(world, demand, leaving))
  checks.push(...affinityChecks(world, demand, leaving))
  return (slot) => {
    for (const check of checks) {
      const reason = check(slot)
      if (reason !== undefined) return reason
    }
    return undefined
  }
}

/** How many pods of these profiles are on each node. */
function countByNode(profiles: ReadonlySet<Profile>): Map<NodeSlot, Map<Profile, number>> {
  const counts = new Map<NodeSlot, Map<Profile, number>>()
  for (const profile of profiles) {
    for (const { slot } of profile.pods) {
      if (!slot) continue
      const here = counts.get(slot) ?? new Map<Profile, number>()
      counts.set(slot, here.set(profile, (here.get(profile) ?? 0) + 1))
    }
  }
  return counts
}

function resourceCheck({ requests }: Demand, leaving: ReadonlySet<Profile>): PodFilter {
  const departures = countByNode(leaving)
  return (slot) => {
    const allocatable = slot.facts?.allocatable
    const here = departures.size === 0 ? undefined : departures.get(slot)
    let pods = slot.pods
    for (const [, number] of here ?? []) pods -= number
    if (pods + 1 > (allocatable?.get('pods') ?? 0)) return 'too many pods'
    for (const [name, amount] of requests) {
      let used = slot.requested.get(name) ?? 0
      for (const [profile, number] of here ?? []) used -= number * (profile.requests.get(name) ?? 0)
      if (amount > (allocatable?.get(name) ?? 0) - used) return `insufficient ${name}`
    }
    return undefined
  }
}

const anyAddress = '0.0.0.0'

function portCheck(ports: readonly HostPort[], leaving: ReadonlySet<Profile>): PodFilter {
  const free = new Set([...leaving].flatMap((p) => p.ports))
  return (slot) => {
    for (const used of slot.ports) {
      if (free.has(used)) continue
      const clash = ports.find(
        (p) =>
          p.port === used.port &&
          p.protocol === used.protocol &&
          (p.ip === used.ip || p.ip === anyAddress || used.ip === anyAddress),
      )
      if (clash) return `host port ${clash.port} is taken`
    }
    return undefined
  }
}

function volumeCheck({ volumes }: PodWorld, { namespace, claims }: Demand): PodFilter {
  const alternatives = claims.map((names) => volumes.behind(namespace, names))
  if (alternatives.some((limits) => limits.length === 0)) return () => undefined
  return ({ facts }) =>
    facts && alternatives.some((limits) => limits.every((volume) => reachesVolume(facts, volume)))
      ? undefined
      : 'cannot reach the volume of its claim'
}

function spreadChecks(world: PodWorld, demand: Demand, leaving: ReadonlySet<Profile>): PodFilter[] {
  return demand.spread.map((spread) => {
    const domains = world.masks.domains(demand.node, spread, demand.spread)
    const counts = new Map<string, number>()
    for (const profile of spreadOver(world, demand.namespace, spread)) {
      if (leaving.has(profile)) continue
      for (const { slot } of profile.pods) {
        const domain = slot && domains.of(slot)
        if (domain !== undefined) counts.set(domain, (counts.get(domain) ?? 0) + 1)
      }
    }
    // Domains without pods are not in `counts`; too few domains count as an empty one.
    const least = domains.size < spread.minDomains || counts.size < domains.size ? 0 : smallest(counts)
    const self = matchesSelector(demand.labels, spread.selector) ? 1 : 0
    return ({ facts }) => {
      const domain = facts?.labels[spread.topologyKey]
      if (domain === undefined) return `has no label ${spread.topologyKey} for a spread constraint`
      const skew = (counts.get(domain) ?? 0) + self - least
      return skew > spread.maxSkew ? "didn't match pod topology spread constraints" : undefined
    }
  })
}

function smallest(counts: ReadonlyMap<string, number>): number {
  let least = Number.MAX_SAFE_INTEGER
  for (const count of counts.values()) if (count < least) least = count
  return least
}

/** An empty selector counts no pods in PodTopologySpread, although it matches all of them. */
function* spreadOver({ profiles }: PodWorld, namespace: string, { selector }: Spread): Generator<Profile> {
  if (selector === undefined || selector.length === 0) return
  for (const profile of profiles.inNamespace(namespace)) {
    if (!profile.terminating && matchesSelector(profile.labels, selector)) yield profile
  }
}

function affinityChecks(world: PodWorld, demand: Demand, leaving: ReadonlySet<Profile>): PodFilter[] {
  const checks: PodFilter[] = []
  const { affinity, antiAffinity } = demand
  if (affinity.length > 0) {
    const first = affinity[0] as PodTerm
    const matching = [...matchingProfiles(world, first, leaving)].filter((p) =>
      affinity.every((term) => speaksOf(world, term, p)),
    )
    const found = affinity.map((term) => topologyValues(matching, term.topologyKey))
    const alone = found.every((values) => values.size === 0) && affinity.every((term) => speaksOf(world, term, demand))
    checks.push(({ facts }) => {
      const values = affinity.map((term) => facts?.labels[term.topologyKey])
      const there = values.every((value, i) => value !== undefined && found[i]?.has(value))
      // The first of several pods that want to be together may go anywhere.
      const first = alone && values.every((value) => value !== undefined)
      return there || first ? undefined : "didn't match pod affinity rules"
    })
  }
  for (const term of antiAffinity) {
    const values = topologyValues(matchingProfiles(world, term, leaving), term.topologyKey)
    if (values.size > 0) checks.push(notIn(term.topologyKey, values, "didn't match pod anti-affinity rules"))
  }
  for (const [key, values] of keptAwayBy(world, demand, leaving)) {
    checks.push(notIn(key, values, "didn't satisfy existing pods anti-affinity rules"))
  }
  return checks
}

function notIn(key: string, values: ReadonlySet<string>, reason: string): PodFilter {
  return ({ facts }) => {
    const value = facts?.labels[key]
    return value !== undefined && values.has(value) ? reason : undefined
  }
}

/** The topology values from which the anti-affinity of existing pods keeps this one away, by topology key. */
function keptAwayBy(world: PodWorld, demand: Demand, leaving: ReadonlySet<Profile>): Map<string, Set<string>> {
  const forbidden = new Map<string, Set<string>>()
  for (const profile of world.profiles.withAntiAffinityTo(demand.namespace)) {
    if (leaving.has(profile)) continue
    for (const term of profile.antiAffinity) {
      if (!speaksOf(world, term, demand)) continue
      const values = forbidden.get(term.topologyKey) ?? new Set<string>()
      forbidden.set(term.topologyKey, values)
      addValues(values, profile, term.topologyKey)
    }
  }
  return forbidden
}

function topologyValues(profiles: Iterable<Profile>, key: string): Set<string> {
  const values = new Set<string>()
  for (const profile of profiles) addValues(values, profile, key)
  return values
}

function addValues(values: Set<string>, profile: Profile, key: string): void {
  for (const { slot } of profile.pods) {
    const value = slot?.facts?.labels[key]
    if (value !== undefined) values.add(value)
  }
}

function* matchingProfiles(world: PodWorld, term: PodTerm, leaving: ReadonlySet<Profile>): Generator<Profile> {
  const { profiles } = world
  for (const namespace of term.namespaceSelector === undefined ? term.namespaces : profiles.namespaces()) {
    if (!reaches(world, term, namespace)) continue
    for (const profile of profiles.inNamespace(namespace)) {
      if (!leaving.has(profile) && matchesSelector(profile.labels, term.selector)) yield profile
    }
  }
}

const reaches = (world: PodWorld, { namespaces, namespaceSelector }: PodTerm, namespace: string): boolean =>
  namespaces.includes(namespace) ||
  (namespaceSelector !== undefined && matchesSelector(world.namespaceLabels(namespace), namespaceSelector))

const speaksOf = (
  world: PodWorld,
  term: PodTerm,
  pod: { readonly namespace: string; readonly labels: Labels },
): boolean => reaches(world, term, pod.namespace) && matchesSelector(pod.labels, term.selector)
