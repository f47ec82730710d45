import type { NodeSlot, PodFacts } from '../facts.ts'
import type { ImageNames } from '../image-names.ts'
import { createAddressIndex } from './address-index.ts'
import { drop, put } from './sets.ts'

/** Finds pods by what placement and the listener ask for. Holds references only; the watch owns the pods. */
export interface PodIndex {
  /** Replaces `previous` by `pod`; either may be undefined. */
  update(pod: PodFacts | undefined, previous: PodFacts | undefined): void
  waitingFor(image: string): ReadonlySet<PodFacts>
  waitingImages(): Iterable<string>
  rollingOf(repository: string): RollingPods
  byIp(ip: string): PodFacts | undefined
}

/** Pods that roll in place: one for each of their nodes, the oldest. */
export type RollingPods = ReadonlyMap<NodeSlot, PodFacts>

interface Rolling {
  readonly pods: Set<PodFacts>
  /** Made when asked for, since there may be thousands. */
  oldest: RollingPods | undefined
}

const noPods: ReadonlySet<PodFacts> = new Set()
const noNodes: RollingPods = new Map()

export function createPodIndex(names: ImageNames): PodIndex {
  const waiting = new Map<string, Set<PodFacts>>()
  const rolling = new Map<string, Rolling>()
  const addresses = createAddressIndex()

  const remove = (pod: PodFacts): void => {
    for (const { image } of pod.waiting) drop(waiting, image, pod)
    for (const image of pod.rolling) {
      const repository = names.repository(image)
      const entry = rolling.get(repository)
      if (!entry?.pods.delete(pod)) continue
      entry.oldest = undefined
      if (entry.pods.size === 0) rolling.delete(repository)
    }
  }
  const add = (pod: PodFacts): void => {
    for (const { image } of pod.waiting) put(waiting, image, pod)
    for (const image of pod.rolling) {
      const repository = names.repository(image)
      const entry = rolling.get(repository) ?? { pods: new Set(), oldest: undefined }
      rolling.set(repository, entry)
      entry.pods.add(pod)
      entry.oldest = undefined
    }
  }
  return {
    update(pod, previous) {
      if (previous) remove(previous)
      if (pod) add(pod)
      addresses.update(pod, previous)
    },
    waitingFor: (image) => waiting.get(image) ?? noPods,
    waitingImages: () => waiting.keys(),
    rollingOf(repository) {
      const entry = rolling.get(repository)
      return entry ? (entry.oldest ??= oldestByNode(entry.pods)) : noNodes
    },
    byIp: (ip) => addresses.get(ip),
  }
}

function oldestByNode(pods: Iterable<PodFacts>): RollingPods {
  const oldest = new Map<NodeSlot, PodFacts>()
  for (const pod of pods) {
    if (!pod.slot) continue
    const known = oldest.get(pod.slot)
    if (!known || byAge(pod, known) < 0) oldest.set(pod.slot, pod)
  }
  return oldest
}

export const byAge = (a: PodFacts, b: PodFacts): number =>
  a.created - b.created || (`${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1)
