/** What is known of a build when its Solve arrives. */
export interface PlacementRequest {
  /** Names the build exports, normalised as containerd does: `docker.io/library/app:latest`. May be empty. */
  readonly images: readonly string[]
  /** OCI platform strings the client asked for; empty: the node's own. */
  readonly platforms: readonly string[]
  /** `insitu.node`: a node's name. */
  readonly node?: string | undefined
  /** `insitu.for`: `deploy/web`, `pod/NAME`, `[NAMESPACE/]KIND/NAME`. */
  readonly workload?: string | undefined
  /** Namespace of the caller where it is known; the default for `workload`. */
  readonly namespace?: string | undefined
  /** Stable text that tells builds with a common cache apart from others, e.g. the image repository. */
  readonly cacheKey: string
  /** Only nodes on which all the platforms run without an emulator. */
  readonly nativeOnly?: boolean | undefined
  /** An image is to stay on the node that builds it. */
  readonly stays?: boolean | undefined
  /** How many may build on a node at the same time; absent: any number. More have to wait there for their turn. */
  readonly perNode?: number | undefined
}

export type PlacementRule = 'said' | 'waiting' | 'running' | 'template' | 'anywhere'

export interface Placement {
  readonly rule: PlacementRule
  /** The node that builds. */
  readonly node: string
  /** All nodes that will run the image, the builder among them if it is one. */
  readonly targets: readonly string[]
  /** For people, completes "node worker-2: …": `pod default/web-5f7c waits there for docker.io/team/web:v2`. */
  readonly reason: string
}

export interface Placer {
  /** @throws InsituError with status FAILED_PRECONDITION and one line per reason when no node fits, NOT_FOUND-like text for an unknown node. */
  place(request: PlacementRequest): Promise<Placement>
  /**
   * Called when a build has named its images on a node, before the client is told. Wakes pods that wait for them.
   * Failures are logged, never thrown: the image is there.
   */
  built(placement: Placement, images: readonly string[]): Promise<void>
  /** Why a node will be gone soon, as the end of "node X is going away: …". Absent where nothing says it. */
  leaving?(node: string): string | undefined
}
