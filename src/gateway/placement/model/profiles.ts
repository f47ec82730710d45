import { hash as digest } from 'node:crypto'
import type { PodFacts, Profile, ProfileFacts } from '../facts.ts'
import type { Amounts } from '../scheduling/requests.ts'
import { drop, put } from './sets.ts'

interface MutableProfile extends Profile {
  readonly pods: Set<PodFacts>
}

export interface Profiles {
  /** The one object for these facts. */
  intern(facts: ProfileFacts): Profile
  add(pod: PodFacts): void
  remove(pod: PodFacts): void
  inNamespace(namespace: string): Iterable<Profile>
  namespaces(): Iterable<string>
  ownedBy(kind: string, namespace: string, name: string): Iterable<Profile>
  /** Profiles with anti-affinity terms that may speak of pods in a namespace. */
  withAntiAffinityTo(namespace: string): Iterable<Profile>
  readonly size: number
}

export function createProfiles(): Profiles {
  const known = new Map<string, MutableProfile>()
  const byNamespace = new Map<string, Set<Profile>>()
  const byOwner = new Map<string, Set<Profile>>()
  const antiTo = new Map<string, Set<Profile>>()
  const antiToAny = new Set<Profile>()
  const amounts = rememberAmounts()

  const index = (profile: MutableProfile, change: <K>(index: Map<K, Set<Profile>>, key: K, value: Profile) => void) => {
    change(byNamespace, profile.namespace, profile)
    if (profile.owner) change(byOwner, ownerKey(profile.owner.kind, profile.namespace, profile.owner.name), profile)
    for (const term of profile.antiAffinity) for (const name of term.namespaces) change(antiTo, name, profile)
  }
  return {
    intern(facts) {
      const key = keyOf(facts)
      const found = known.get(key)
      if (found) return found
      return { ...facts, requests: amounts(facts.requests), key, pods: new Set() } satisfies MutableProfile
    },
    add(pod) {
      const profile = pod.profile as MutableProfile
      if (profile.pods.size === 0) {
        known.set(profile.key, profile)
        index(profile, put)
        if (profile.antiAffinity.some((t) => t.namespaceSelector !== undefined)) antiToAny.add(profile)
      }
      profile.pods.add(pod)
    },
    remove(pod) {
      const profile = pod.profile as MutableProfile
      profile.pods.delete(pod)
      if (profile.pods.size > 0 || known.get(profile.key) !== profile) return
      known.delete(profile.key)
      index(profile, drop)
      antiToAny.delete(profile)
    },
    inNamespace: (namespace) => byNamespace.get(namespace) ?? [],
    namespaces: () => byNamespace.keys(),
    ownedBy: (kind, namespace, name) => byOwner.get(ownerKey(kind, namespace, name)) ?? [],
    withAntiAffinityTo(namespace) {
      const named = antiTo.get(namespace) ?? []
      return antiToAny.size === 0 ? named : new Set([...named, ...antiToAny])
    },
    get size() {
      return known.size
    },
  }
}

/** Thousands of profiles request the same: one object for equal amounts. */
function rememberAmounts(limit = 10_000): (amounts: Amounts) => Amounts {
  const known = new Map<string, Amounts>()
  return (amounts) => {
    const key = JSON.stringify([...amounts])
    const found = known.get(key)
    if (found) return found
    if (known.size >= limit) known.clear()
    known.set(key, amounts)
    return amounts
  }
}

const ownerKey = (kind: string, namespace: string, name: string): string => `${kind}/${namespace}/${name}`

/** Equal facts have equal keys; a digest, because the text would be longer than the facts. */
function keyOf({ requests, ...facts }: ProfileFacts): string {
  const { namespace, owner, serviceAccount, labels, ports, antiAffinity, terminating } = facts
  const text = JSON.stringify([
    ...[namespace, owner, serviceAccount, labels, [...requests]],
    ...[ports, antiAffinity, terminating],
  ])
  return digest('sha1', text, 'base64')
}
