/** An image that another one was built on. */
export interface BuiltOn {
  /** Normalised, without digest: `docker.io/library/debian:12`. */
  readonly name: string
  readonly digest: string
  /** Its author says the digest. */
  readonly pinned: boolean
}

/** What is known of how an image was built that a node has. */
export interface ImageOrigin {
  /** Normalised. */
  readonly name: string
  readonly digest: string
  /** Who built it, as gateways write it into the daemon's record: `service-account team/builder`. */
  readonly owner?: string | undefined
  /** Undefined where it was not built here, or by an agent that did not note it. */
  readonly bases?: readonly BuiltOn[] | undefined
}

/** Answer of `agentPaths.origins`: the built images of a node. */
export interface NodeOrigins {
  readonly node: string
  readonly images: readonly ImageOrigin[]
}
