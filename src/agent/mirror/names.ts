import type { BuiltImage, Peer } from '../../api/images.ts'
import type { BuiltRecords } from './built-content.ts'
import type { ContentStore } from './content.ts'
import { isNewer, type Joined, type Lookups } from './lookups.ts'

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
  const end = now() + patience
  const relays = new Set<string>()
  let failure: string | undefined
  let doubted = false
  /** Gateways that have it built, as they say, or as one said that is too busy to say anything now. */
  const builders = (found: Joined, there: boolean): readonly string[] => {
    if (found.state === 'building') return found.by
    if (failure !== undefined || (there && doubted) || ['failed', 'onPull'].includes(found.state)) return []
    return (found.unheard ?? []).filter((address) => held || relays.has(address))
  }
  for (;;) {
    const found = await lookups.ask({ name })
    const there = found.state === 'here' || records.find(name) !== undefined
    const by = builders(found, there)
    const left = end - now()
    if (found.state === 'building') for (const address of by) relays.add(address)
    if (by.length > 0 && left > 0) {
      const doubtful = there && found.state !== 'building'
      doubted ||= doubtful
      const change = await lookups.change(name, by, doubtful ? Math.min(left, doubt) : left, serial)
      if (change.crowded) return { kind: 'building', crowded: true }
      failure = change.failure
      continue
    }
    // Where none has said so in all this time those that are silent are gone, and their builds with them.
    if (by.length > 0 && relays.size > 0) return { kind: 'building' }
    // Otherwise the node would take it for one that insitu did not build, and protect it from the next build.
    if (found.state === 'here') await records.arriving?.(found.image)
    const own = records.find(name)
    const here = own && (await store.size(own.digest)) !== undefined ? own : undefined
    // What this node has itself is there, whether or not the gateways have heard of it yet.
    if (found.state === 'onPull' && !here) {
      const left = end - now()
      if (left <= 0) return { kind: 'building' }
      const { crowded } = await lookups.demand(name, found.ask, left, serial)
      if (crowded) return { kind: 'building', crowded }
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
