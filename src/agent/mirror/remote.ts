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
  /** Where a layer stands in the image whose manifest came through here: images share layers, so one of them. */
  position(digest: string): { readonly image: string; readonly index: number } | undefined
  /** Nobody has a name of this repository: its blobs need no question for a moment. */
  unknown(repository: string): void
}

interface Given {
  readonly peers: readonly Peer[]
  readonly until: number
}

export interface RemoteOptions extends VerifiedOptions {
  readonly lookups: Lookups
  /** Nodes that a delivery names for a repository. */
  readonly planned: (repository: string) => readonly Peer[]
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
  const manifests = new Map<string, RemoteManifest & Given>()
  const unknown = new Map<string, number>()

  const peersOf = async (repository: string, digest: string): Promise<readonly Peer[]> => {
    const found = await lookups.ask({ repository, digest })
    return found.state === 'here' ? found.peers : []
  }
  const content = (repository: string, digest: string, known?: readonly Peer[]): RemoteContent => {
    let first = known
    return {
      repository,
      digest,
      async peers() {
        const given = first
        first = undefined
        return given && given.length > 0 ? given : peersOf(repository, digest)
      },
    }
  }
  /** Those who can be asked for a blob without a question to the gateways before. */
  const givers = (repository: string, digest: string): readonly Peer[] => {
    const planned = options.planned(repository)
    if (planned.length > 0) return planned
    for (const { children, peers, until } of manifests.values()) {
      if (until > now() && children.some((child) => child.digest === digest)) return peers
    }
    return []
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
      const cached = manifests.get(digest)
      if (cached) return cached
      const peers = known ?? (await peersOf(repository, digest))
      if (peers.length === 0) {
        note(repository)
        return undefined
      }
      unknown.delete(repository)
      try {
        const wanted = content(repository, digest, peers)
        const opened = await options.source.open(wanted, 'manifests', 0)
        if (opened.size > maxManifest) {
          opened.body.destroy()
          return undefined
        }
        const bytes = await readVerified(wanted, 'manifests', options, opened)
        const found = { ...parseManifest(bytes), bytes, peers, until: now() + givenFor }
        manifests.set(digest, found)
        const [oldest] = manifests.keys()
        if (manifests.size > mostManifests && oldest !== undefined) manifests.delete(oldest)
        return found
      } catch (error) {
        if (error instanceof Error && 'code' in error && error.code === 'CONTENT_NOWHERE') return undefined
        options.log.debug({ digest, err: describeError(error) }, 'a manifest could not be fetched')
        throw error
      }
    },
    async blob(repository, digest) {
      const given = givers(repository, digest)
      if (given.length > 0) return content(repository, digest, given)
      if (isUnknown(repository)) return undefined
      const peers = await peersOf(repository, digest)
      if (peers.length > 0) return content(repository, digest, peers)
      note(repository)
      return undefined
    },
    sizeOf,
    position(digest) {
      for (const [image, { children }] of manifests) {
        const index = children.findIndex((child) => child.digest === digest)
        if (index !== -1) return { image, index }
      }
      return undefined
    },
    unknown: note,
  }
}
