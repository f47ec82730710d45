import type { Peer } from '../../api/images.ts'
import { describeError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import { maxManifest } from './content.ts'
import type { Lookups } from './lookups.ts'
import { isManifestType, type Manifest, parseManifest } from './manifest.ts'
import type { RemoteContent } from './source.ts'
import { readVerified, type VerifiedOptions } from './verified.ts'

/** A manifest that came from another node. */
export interface RemoteManifest extends Manifest {
  readonly bytes: Buffer
}

/** What is known about content of other nodes, so that one pull asks the gateways once. */
export interface Remote {
  /** @param known peers that a lookup of the name gave. @returns undefined when nobody has it. @throws PEERS_FAILED */
  manifest(repository: string, digest: string, known?: readonly Peer[]): Promise<RemoteManifest | undefined>
  /** Where a blob may be, or undefined when the repository is nobody's. */
  blob(repository: string, digest: string): Promise<RemoteContent | undefined>
  /** Bytes of configs and layers of an image whose manifests came through here; of an index, of the platforms that came. */
  readonly sizeOf: (digest: string) => number | undefined
  /** Where a layer stands in the image whose manifest came through here last: images share layers. */
  position(digest: string): { readonly image: string; readonly index: number } | undefined
  /** Nobody has a name of this repository: its blobs need no question for a moment. */
  unknown(repository: string): void
}

/** Where content may be. */
interface Place {
  /** Of the image, which may be another one than that of the request: images of different repositories share content. */
  readonly repository: string
  /** The digest that a name points to: gateways know by it which nodes have the image, and all that belongs to it. */
  readonly root: string
  readonly peers: readonly Peer[]
  /** Nobody was asked for this. */
  readonly remembered?: boolean
}

/** A manifest that came through here, and the image in which it came the last time. */
interface Passed extends RemoteManifest, Place {
  readonly until: number
}

export interface RemoteOptions extends VerifiedOptions {
  readonly lookups: Lookups
  /** Nodes that a delivery of an image names for what belongs to it. */
  readonly planned: (repository: string, root: string) => readonly Peer[]
  readonly log: Logger
  readonly now?: () => number
}

/** Milliseconds. A pull begins with its name; its blobs follow within this time, each asked for here first. */
const unknownFor = 10_000
const mostManifests = 64
/** So long a node that gave a manifest is taken to have its blobs. */
const givenFor = 60_000

export function createRemote(options: RemoteOptions): Remote {
  const { lookups, now = Date.now } = options
  /** The one that was asked for last is the last. */
  const manifests = new Map<string, Passed>()
  const unknown = new Map<string, number>()

  const peersOf = async (repository: string, digest: string): Promise<readonly Peer[]> => {
    const found = await lookups.ask({ repository, digest })
    return found.state === 'here' ? found.peers : []
  }
  const content = (repository: string, digest: string, place: Place): RemoteContent => {
    const { remembered = false } = place
    let first = place.peers
    return {
      ...{ repository, digest, remembered },
      async peers() {
        const given = first
        first = []
        return given.length > 0 ? given : peersOf(place.repository, place.root)
      },
    }
  }
  const keep = (digest: string, passed: Passed): void => {
    manifests.delete(digest)
    manifests.set(digest, passed)
    const [oldest] = manifests.keys()
    if (manifests.size > mostManifests && oldest !== undefined) manifests.delete(oldest)
  }
  /** What names a digest: images share content, so the one of them that is being pulled. */
  const parentOf = (digest: string): (Passed & { readonly image: string }) | undefined => {
    let found: (Passed & { readonly image: string }) | undefined
    for (const [image, passed] of manifests) {
      if (passed.children.some((child) => child.digest === digest)) found = { ...passed, image }
    }
    return found
  }
  /** Gateways are asked only where the pull has not told it. */
  const placeOf = async (repository: string, digest: string): Promise<Place> => {
    const parent = parentOf(digest)
    const image = { repository: parent?.repository ?? repository, root: parent?.root ?? digest }
    const planned = options.planned(image.repository, image.root)
    if (planned.length > 0) return { ...image, peers: planned, remembered: true }
    if (parent && parent.until > now() && parent.peers.length > 0) {
      return { ...image, peers: parent.peers, remembered: true }
    }
    return { ...image, peers: await peersOf(image.repository, image.root) }
  }
  const sizeOf = (digest: string): number | undefined => {
    const parts = (manifests.get(digest)?.children ?? []).map((child) =>
      isManifestType(child.mediaType) ? sizeOf(child.digest) : child.size,
    )
    const known = parts.filter((size) => size !== undefined)
    return known.length === 0 ? undefined : known.reduce((sum, size) => sum + size, 0)
  }
  const isUnknown = (repository: string): boolean => (unknown.get(repository) ?? 0) > now()
  const note = (repository: string): void => {
    for (const [name, until] of unknown) if (until <= now()) unknown.delete(name)
    unknown.set(repository, now() + unknownFor)
  }
  return {
    async manifest(repository, digest, known) {
      const until = now() + givenFor
      const cached = manifests.get(digest)
      if (cached) {
        const place = known ? { repository, root: digest, peers: known, until } : (parentOf(digest) ?? cached)
        const { root, peers } = place
        keep(digest, { ...cached, repository: place.repository, root, peers, until: place.until })
        return cached
      }
      const place = known ? { repository, root: digest, peers: known } : await placeOf(repository, digest)
      if (place.peers.length === 0) {
        note(repository)
        return undefined
      }
      unknown.delete(repository)
      try {
        const wanted = content(repository, digest, place)
        const opened = await options.source.open(wanted, 'manifests', 0)
        if (opened.size > maxManifest) {
          opened.body.destroy()
          return undefined
        }
        const bytes = await readVerified(wanted, 'manifests', options, opened)
        const { root, peers } = place
        const found = { ...parseManifest(bytes), bytes, repository: place.repository, root, peers, until }
        keep(digest, found)
        return found
      } catch (error) {
        if (error instanceof Error && 'code' in error && error.code === 'CONTENT_NOWHERE') return undefined
        options.log.debug({ digest, err: describeError(error) }, 'a manifest could not be fetched')
        throw error
      }
    },
    async blob(repository, digest) {
      if (isUnknown(repository) && !parentOf(digest)) return undefined
      const place = await placeOf(repository, digest)
      if (place.peers.length > 0) return content(repository, digest, place)
      note(repository)
      return undefined
    },
    sizeOf,
    position(digest) {
      const parent = parentOf(digest)
      return parent && { image: parent.image, index: parent.children.findIndex((child) => child.digest === digest) }
    },
    unknown: note,
  }
}
