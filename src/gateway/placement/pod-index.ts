import type { PodFacts } from './cluster.ts'
import type { ImageNames } from './image-names.ts'

/** Finds pods by what placement and the listener ask for. Holds references only; the watch owns the pods. */
export interface PodIndex {
  /** Replaces `previous` by `pod`; either may be undefined. */
  update(pod: PodFacts | undefined, previous: PodFacts | undefined): void
  waitingFor(image: string): Iterable<PodFacts>
  rollingOf(repository: string): Iterable<PodFacts>
  byIp(ip: string): PodFacts | undefined
}

export function createPodIndex(names: ImageNames): PodIndex {
  const waiting = new Map<string, Set<PodFacts>>()
  const rolling = new Map<string, Set<PodFacts>>()
  const ips = new Map<string, PodFacts>()

  const remove = (pod: PodFacts): void => {
    for (const { image } of pod.waiting) drop(waiting, image, pod)
    for (const image of pod.rolling) drop(rolling, names.repository(image), pod)
    // An address may have been given to another pod in the meantime.
    for (const ip of addressesOf(pod)) if (ips.get(ip) === pod) ips.delete(ip)
  }
  const add = (pod: PodFacts): void => {
    for (const { image } of pod.waiting) put(waiting, image, pod)
    for (const image of pod.rolling) put(rolling, names.repository(image), pod)
    for (const ip of addressesOf(pod)) ips.set(ip, pod)
  }
  return {
    update(pod, previous) {
      if (previous) remove(previous)
      if (pod) add(pod)
    },
    waitingFor: (image) => waiting.get(image) ?? [],
    rollingOf: (repository) => rolling.get(repository) ?? [],
    byIp: (ip) => ips.get(ip),
  }
}

/** Those that name this pod and no other. */
export const addressesOf = (pod: PodFacts): string[] =>
  [pod.ip, pod.secondIp].filter((ip): ip is string => ip !== undefined)

export function put<K, V>(index: Map<K, Set<V>>, key: K, value: V): void {
  const set = index.get(key)
  if (set) set.add(value)
  else index.set(key, new Set([value]))
}

export function drop<K, V>(index: Map<K, Set<V>>, key: K, value: V): void {
  const set = index.get(key)
  if (set?.delete(value) && set.size === 0) index.delete(key)
}
