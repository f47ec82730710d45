import type { BuiltImage, Lookup, Peer } from '../../api/images.ts'
import type { BuiltRecords } from './built-content.ts'
import type { ContentStore } from './content.ts'
import { answering, type Change, isNewer, type Joined, type Lookups } from './lookups.ts'

/** What to answer to a pull of a name. */
export type Resolved =
  | { readonly kind: 'local'; readonly digest: string }
  | { readonly kind: 'remote'; readonly image: BuiltImage; readonly peers: readonly Peer[] }
  /** Still being built when the time was over, or when others waited behind the pull. */
  | { readonly kind: 'building'; readonly crowded?: boolean }
  | { readonly kind: 'failed'; readonly reason: string }
  | { readonly kind: 'none' }

export interface NamesOptions {
  readonly records: BuiltRecords
  readonly store: ContentStore
  readonly lookups: Lookups
  readonly now?: () => number
}

/** How a pull waits. */
export interface Waiting {
  /** The node's pulls come one at a time: it waits while no other pod does. */
  readonly serial?: boolean
  /** It was sent on to wait: the name was being built, or about to be, a moment ago. */
  readonly held?: boolean
}

/** Milliseconds for which an image that is there is not taken while the gateway that may have a newer one built says nothing. */
const doubt = 1000
/** And for which a pull that other pods of the node wait behind waits for gateways that have said nothing of a build. */
const silence = 2000

/**
 * Finds the newest image of a name, here or elsewhere. While it is being built, the answer waits.
 * @param patience milliseconds. A build that fails meanwhile leaves the image that was there before.
 */
export async function resolveName(
  name: string,
  patience: number,
  options: NamesOptions,
  { serial = false, held = false }: Waiting = {},
): Promise<Resolved> {
  const { records, store, lookups, now = Date.now } = options
  const end = now() + patience - Math.min(answering, patience / 10)
  /** Gateways that had it built at some time. */
  const relays = new Set<string>()
  /** What those that were late have said since. */
  const words = new Map<string, Lookup>()
  let failure: string | undefined
  /** Until then those that say nothing are waited for. */
  let trust = end
  /** Those that may have it built: as one said that is too busy to say anything now, or as somebody said who sent the pull on. */
  const silent = (found: Joined): readonly string[] =>
    failure !== undefined || ['failed', 'onPull'].includes(found.state)
      ? []
      : (found.unheard ?? []).filter((address) => held || relays.has(address))
  const heard = (by: readonly string[], { from, word }: Change): boolean => {
    for (const address of by) words.delete(address)
    if (from !== undefined && word) words.set(from, word)
    failure = word?.state === 'failed' ? word.reason : undefined
    return (word?.state === 'building' || word?.state === 'onPull') && word.crowded === true
  }
  for (;;) {
    const found = await lookups.ask({ name }, words)
    const there = found.state === 'here' || records.find(name) !== undefined
    const building = found.state === 'building'
    const by = building ? found.by : silent(found)
    const known = by.some((address) => relays.has(address))
    if (building) {
      for (const address of by) relays.add(address)
      trust = end
    } else if (by.length > 0) {
      trust = Math.min(trust, now() + (there ? doubt : serial && !known ? silence : patience))
    }
    const left = (building ? end : trust) - now()
    if (by.length > 0 && left > 0) {
      if (heard(by, await lookups.change(name, by, left, serial))) return { kind: 'building', crowded: true }
      continue
    }
    // Where none has said so in all this time those that are silent are gone, and their builds with them.
    if (building || (known && end <= now())) return { kind: 'building' }
    // Otherwise the node would take it for one that insitu did not build, and protect it from the next build.
    if (found.state === 'here') await records.arriving?.(found.image)
    const own = records.find(name)
    const here = own && (await store.size(own.digest)) !== undefined ? own : undefined
    // What this node has itself is there, whether or not the gateways have heard of it yet.
    if (found.state === 'onPull' && !here) {
      const left = end - now()
      if (left <= 0) return { kind: 'building' }
      if (heard([found.ask], await lookups.demand(name, found.ask, left, serial)))
        return { kind: 'building', crowded: true }
      continue
    }
    if (found.state === 'failed' && !here) return { kind: 'failed', reason: found.reason }
    if (found.state === 'here' && found.image.digest !== here?.digest && (!here || isNewer(found.image, here))) {
      return { kind: 'remote', image: found.image, peers: found.peers }
    }
    if (here) return { kind: 'local', digest: here.digest }
    return failure === undefined ? { kind: 'none' } : { kind: 'failed', reason: failure }
  }
}
