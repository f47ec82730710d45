import type { PodFacts } from '../facts.ts'
import { addressKey, type AddressKey } from './addresses.ts'

/**
 * Whose an address is. The network gives it to the next pod before everybody has heard that the last one is gone, and
 * events of both come in any order.
 */
export interface AddressIndex {
  /** Replaces `previous` by `pod`; either may be undefined. */
  update(pod: PodFacts | undefined, previous: PodFacts | undefined): void
  get(ip: string): PodFacts | undefined
}

/** Those that name this pod and no other. */
export const addressesOf = (pod: PodFacts): string[] =>
  [pod.ip, pod.secondIp].filter((ip): ip is string => ip !== undefined)

export function createAddressIndex(): AddressIndex {
  // Mostly one. Of several the last one has it, and the others are there in case that goes first.
  const pods = new Map<AddressKey, PodFacts | readonly PodFacts[]>()

  const all = (key: AddressKey): readonly PodFacts[] => {
    const found = pods.get(key)
    return found === undefined ? [] : isOne(found) ? [found] : found
  }
  const set = (key: AddressKey, claimants: readonly PodFacts[]): void => {
    const living = claimants.filter((pod) => !pod.profile.terminating)
    // A pod that is being deleted has it until a living one does, and never again.
    const left = living.length > 0 ? living : claimants
    const [first] = left
    if (first === undefined) pods.delete(key)
    else pods.set(key, left.length === 1 ? first : left)
  }
  return {
    update(pod, previous) {
      const before = keysOf(previous)
      const now = keysOf(pod)
      for (const key of before) {
        if (now.includes(key)) continue
        const others = all(key).filter((one) => one !== previous)
        set(key, others)
      }
      if (pod) for (const key of now) set(key, withPod(all(key), pod, previous, before.includes(key)))
    },
    get(ip) {
      const found = pods.get(addressKey(ip))
      return found === undefined || isOne(found) ? found : found.at(-1)
    },
  }
}

/** @param had whether the pod is known to have had the address before: then it is no news. */
function withPod(
  claimants: readonly PodFacts[],
  pod: PodFacts,
  previous: PodFacts | undefined,
  had: boolean,
): readonly PodFacts[] {
  const at = had && previous ? claimants.indexOf(previous) : -1
  if (at >= 0) return claimants.with(at, pod)
  if (had && pod.profile.terminating) return claimants
  if (previous) return [...claimants, pod]
  // A list is in no order of time: there the newer pod has it.
  const newer = claimants.findIndex((one) => one.created > pod.created)
  return claimants.toSpliced(newer < 0 ? claimants.length : newer, 0, pod)
}

const keysOf = (pod: PodFacts | undefined): AddressKey[] => (pod ? addressesOf(pod).map(addressKey) : [])

const isOne = (found: PodFacts | readonly PodFacts[]): found is PodFacts => !Array.isArray(found)
