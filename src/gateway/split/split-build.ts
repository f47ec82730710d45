import type { BuildNode } from '../directory/directory.ts'
import type { Http2Stream } from '../http2/stream.ts'
import type { RawHeaders } from '../http2/raw-headers.ts'
import type { Placement } from '../placement/placer.ts'

/** Platforms of a build that one node builds. */
export interface BuildPart {
  readonly node: BuildNode
  readonly platforms: readonly string[]
  readonly placement: Placement
}

/** What becomes of a build's images: nothing, they stay on their nodes under names, or they are pushed. */
export type SplitOutput =
  | { readonly kind: 'none' }
  | { readonly kind: 'place'; readonly names: readonly string[] }
  | {
      readonly kind: 'push'
      /** Normalised. */
      readonly names: readonly string[]
      readonly byDigest: boolean
      /** The registry's certificate need not be good, or there is none. */
      readonly insecure: boolean
    }

/** What the parts' frontends made, for a client that drives its build itself. */
export interface PartResults {
  /** LLBBridge's Result, encoded, for a client that returns it. */
  readonly own: Map<BuildPart, Uint8Array>
  /** What they were asked for: LLBBridge's Solve, encoded. */
  readonly asked: Map<BuildPart, Uint8Array>
  /** Whose they are, by the id that the client knows. */
  readonly refs: Map<string, BuildPart>
  /** Names of the metadata that the client was given. */
  readonly metadata: Set<string>
  /** A frontend was asked for: the build cannot become one of a single node any more. */
  begun: boolean
}

export const noResults = (): PartResults => ({
  ...{ own: new Map(), asked: new Map(), refs: new Map() },
  ...{ metadata: new Set(), begun: false },
})

/** A build of several platforms whose parts run on several nodes. */
export interface SplitBuild {
  /** Two or more; questions of the client that one daemon can answer go to the first. */
  readonly parts: readonly [BuildPart, ...BuildPart[]]
  /** Of all parts, as nodes list them, in the client's order. */
  readonly platforms: readonly string[]
  readonly output: SplitOutput
  readonly results: PartResults
  /** The client's own session; undefined when the build has none. */
  readonly session: SessionHub | undefined
}

/** The client's end of a session. */
export interface ClientSession {
  /** Starts a call to the client. */
  request(headers: RawHeaders): Http2Stream
  /** The session is over. */
  readonly gone: boolean
}

/** A client's session whose tunnel ends in the gateway, so that several daemons can use it. */
export interface SessionHub {
  /** From now on this node's daemon can call the client. */
  join(node: BuildNode): void
  /** The nodes that have joined, and those that will. @returns what ends it. */
  follow(listener: (node: BuildNode) => void): () => void
  /** The client has come. */
  serve(client: ClientSession): void
  /** The client's end is gone. */
  leave(): void
  /** Aborts with SESSION_LOST when it is. */
  readonly lost: AbortSignal
  /** The client's end, once it has come. Rejects with the signal's reason. */
  client(signal: AbortSignal): Promise<ClientSession>
}

/** Where the calls of a session go: to one node, byte for byte, or to all that join. */
export type SessionPlace =
  { readonly node: BuildNode; readonly hub?: undefined } | { readonly hub: SessionHub; readonly node?: undefined }
