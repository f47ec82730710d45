import type { Peer } from '../../../api/images.ts'
import type { Lookups } from '../lookups.ts'
import type { Remote, RemoteManifest } from '../remote.ts'
import type { RemoteContent } from '../source.ts'
import type { PublicManifest, PublicManifests } from './public-manifests.ts'

/**
 * Images that insitu did not build, from nodes that have pulled them. Their registry decides: only what it gives to
 * everybody, as of a moment ago, is looked for on other nodes; for all else containerd goes there with its credentials.
 */
export interface Ordinary {
  /** What a tag or a digest is at its registry now; undefined when it is not for everybody. Never rejects. */
  resolve(repository: string, reference: string, accept: string): Promise<PublicManifest | undefined>
  /** The manifest, when it is for everybody and another node has it. */
  manifest(repository: string, digest: string, accept: string): Promise<RemoteManifest | undefined>
  /** Where a blob may be that a manifest of these names. */
  blob(repository: string, digest: string): RemoteContent | undefined
}

export interface OrdinaryOptions {
  readonly registries: PublicManifests
  readonly lookups: Lookups
  /** Not the one of built images: that one asks for those only. */
  readonly remote: Pick<Remote, 'manifest'>
  readonly now?: () => number
}

/** Milliseconds for which the registry's word holds for a pull. What begins later is the registry's. */
const validFor = 300_000
const mostKnown = 4096

interface Allowed {
  /** What gateways know nodes by: the digest that an image's name points to. */
  readonly root: string
  readonly until: number
}

export function createOrdinary({ registries, lookups, remote, now = Date.now }: OrdinaryOptions): Ordinary {
  const allowed = new Map<string, Allowed>()
  const keyOf = (repository: string, digest: string): string => `${repository}@${digest}`
  const find = (repository: string, digest: string): Allowed | undefined => {
    const known = allowed.get(keyOf(repository, digest))
    return known && known.until > now() ? known : undefined
  }
  const allow = (repository: string, digest: string, as: Allowed): void => {
    const key = keyOf(repository, digest)
    // At the end of the order: the first ones are the oldest.
    allowed.delete(key)
    allowed.set(key, as)
    for (const [oldest, { until }] of allowed) {
      if (allowed.size <= mostKnown && until > now()) break
      allowed.delete(oldest)
    }
  }
  const peersOf = async (repository: string, root: string): Promise<readonly Peer[]> => {
    const found = await lookups.ask({ repository, digest: root, ordinary: '1' })
    return found.state === 'here' ? found.peers : []
  }
  const resolve: Ordinary['resolve'] = async (repository, reference, accept) => {
    const found = await registries.head(repository, reference, accept)
    if (found) allow(repository, found.digest, { root: found.digest, until: now() + validFor })
    return found
  }
  return {
    resolve,
    async manifest(repository, digest, accept) {
      const known =
        find(repository, digest) ?? ((await resolve(repository, digest, accept)) && find(repository, digest))
      if (!known) return undefined
      const peers = await peersOf(repository, known.root)
      if (peers.length === 0) return undefined
      const found = await remote.manifest(repository, digest, peers)
      for (const child of found?.children ?? []) allow(repository, child.digest, known)
      return found
    },
    blob(repository, digest) {
      const known = find(repository, digest)
      return known && { repository, digest, peers: () => peersOf(repository, known.root) }
    },
  }
}
