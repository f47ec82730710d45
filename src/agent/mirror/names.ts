import type { BuiltImage, Peer } from '../../api/images.ts'
import type { BuiltRecords } from './built-content.ts'
import type { ContentStore } from './content.ts'
import { isNewer, type Lookups } from './lookups.ts'

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

/**
 * Finds the newest image of a name, here or elsewhere. While it is being built, the answer waits.
 * @param patience milliseconds. A build that fails meanwhile leaves the image that was there before.
 * @param serial the node's pulls come one at a time: it waits while no other pod does.
 */
export async function resolveName(
  name: string,
  patience: number,
  options: NamesOptions,
  serial = false,
): Promise<Resolved> {
  const { records, store, lookups, now = Date.now } = options
  const end = now() + patience
  let failure: string | undefined
  for (;;) {
    const found = await lookups.ask({ name })
    if (found.state === 'building') {
      const left = end - now()
      if (left <= 0) return { kind: 'building' }
      const change = await lookups.change(name, found.by, left, serial)
      if (change.crowded) return { kind: 'building', crowded: true }
      failure = change.failure
      continue
    }
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
