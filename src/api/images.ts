/** Contracts about images that were built: what agents tell gateways and each other. */

/** An image that insitu built and that a node has under this name. */
export interface BuiltImage {
  /** Normalised as containerd does: `docker.io/library/app:latest`. */
  readonly name: string
  /** Of the manifest or index the name points to: `sha256:…`. */
  readonly digest: string
  /**
   * Orders the builds of one name across nodes with different clocks: milliseconds since 1970 of the gateway that saw
   * the build end, and more than any version that gateway knew of this name. The highest wins.
   */
  readonly version: number
}

/** All built images of a node. */
export interface ImageInventory {
  readonly node: string
  /** Grows with every change; starts anew (from the clock) when the agent does. */
  readonly revision: number
  readonly images: readonly BuiltImage[]
  /** With `agent.mirror.serve = "all"`: digests that the names of all other images on the node point to. */
  readonly ordinary?: readonly string[] | undefined
}

/** An agent from which an image can be read. */
export interface Peer {
  readonly node: string
  readonly host: string
  readonly port: number
}

/** What a gateway answers to an agent that looks for a name or a digest. */
export type Lookup =
  /** `image` is the newest of that name; `peers` have it, the least busy first. */
  | { readonly state: 'here'; readonly image: BuiltImage; readonly peers: readonly Peer[] }
  /** It is being built or queued; ask again, the answer comes when something changed or the wait is over. */
  | {
      readonly state: 'building'
      readonly node: string | undefined
      /** Said to who asks with `serial=1`, and at once: other pods of that node wait for other images. */
      readonly crowded?: boolean
    }
  /**
   * Nobody has it, and a Build waits for somebody who asks: `demand=1` at one gateway has it built, and waits. `crowded` as above.
   */
  | { readonly state: 'onPull'; readonly crowded?: boolean }
  /** A build of it was under way and failed while the caller waited, or has failed a moment ago. */
  | { readonly state: 'failed'; readonly reason: string }
  | { readonly state: 'none' }

/** Body of `agentPaths.built`: the builder's agent records and pins what was just built on its node. */
export interface BuiltRequest {
  readonly images: readonly BuiltImage[]
  /** What the names should point to where this node has built only some platforms of it: the images' digest. */
  readonly index?: SharedIndex | undefined
  /** Of the daemon's record of the build, which says what the images were built on. */
  readonly ref?: string | undefined
}

/** An index whose platforms are on several nodes. */
export interface SharedIndex {
  /** Of `content`: `sha256:…`. */
  readonly digest: string
  readonly mediaType: string
  /** JSON. */
  readonly content: string
}

export interface BuiltAnswer {
  /** Names that were not recorded because a build may not write them. The node has put them back. */
  readonly refused: readonly { readonly name: string; readonly reason: string }[]
  /** Names that mean the image of another build on this node by now, and stay so. Absent from older agents. */
  readonly overtaken?: readonly string[] | undefined
}

/** Body of `agentPaths.wanted`: normalised names. Built images among them stay on the node although no pod uses them. */
export interface WantedRequest {
  readonly names: readonly string[]
}

/** Answer of `agentPaths.protected`: those of the names that the node has and insitu did not build. */
export interface ProtectedAnswer {
  readonly protected: readonly string[]
}

/** Body of `agentPaths.pull`: a target's agent brings an image to its node. */
export interface PullRequest {
  readonly image: BuiltImage
  /** In the order in which they should be tried. */
  readonly peers: readonly Peer[]
}

/** One line of the answer to `agentPaths.pull` (JSON lines, until `done` or `error`). */
export type PullProgress =
  | { readonly bytes: number; readonly total: number | undefined }
  | { readonly done: true; readonly bytes: number }
  | { readonly error: string }

/** Body of `agentPaths.retract`: a build has failed elsewhere that may have named images on this node. */
export interface RetractRequest {
  /** Normalised. */
  readonly names: readonly string[]
  /** Milliseconds since that build began. What a name pointed to before stays. */
  readonly age: number
}

/** Body of `agentPaths.drop`: names whose copy on this node is older than the given version lose it. */
export interface DropRequest {
  readonly images: readonly BuiltImage[]
}
