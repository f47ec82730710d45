import type { WorkerRecord } from '../../buildkit/gen/control_pb.ts'
import type { Activity } from '../correlate/activity.ts'
import type { Bindings } from '../correlate/bindings.ts'
import type { Owners } from '../correlate/owners.ts'
import type { BuildNode, Directory } from '../directory/directory.ts'
import type { ImageWork } from '../delivery/image-work.ts'
import type { DeliveryWish } from '../delivery/targets.ts'
import type { Caller } from '../listener/caller.ts'
import type { Http2Stream } from '../http2/stream.ts'
import type { Admission } from '../policy/admission.ts'
import type { Placement, Placer } from '../placement/placer.ts'
import type { Progress } from '../progress/progress.ts'
import type { ProxySources } from '../proxy/sources.ts'
import type { ProxyWish } from '../proxy/wish.ts'
import type { Turns } from '../queue/turns.ts'
import type { Blobs } from '../history/blobs.ts'
import type { Deleted } from '../history/deleted.ts'
import type { SessionPlace, SplitBuild } from '../split/split-build.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import type { BodyRoom } from '../../kernel/grpc/framing.ts'
import type { Logger } from '../../kernel/log.ts'
import type { GatewayConfig } from '../../api/config.ts'
import type { RawHeaders } from './headers.ts'
import type { NodeConnections } from './node-connections.ts'
import type { Upstreams } from './upstream.ts'

/** A build that was placed. */
export interface Build {
  readonly node: BuildNode
  /** Whose build it is. */
  readonly caller: Caller
  /** Of the call that it was placed for: it ends with that one. */
  readonly solve?: AbortSignal | undefined
  /** Absent for a client's question (`SolveFacts.probe`), which is placed by nobody. */
  readonly placement: Placement | undefined
  /** What the client asked for about the nodes that get its image. */
  readonly delivery: DeliveryWish
  /** Builds on its node from which on it waits, as its client says. */
  readonly perNode?: number | undefined
  /** What the client says of proxies. */
  readonly proxy: ProxyWish
  /** Our own steps in the client's progress; ends just before Solve is answered. */
  readonly progress: Progress
  /** Settles when the daemon is asked to build, or when it is sure that it never will be. */
  readonly begun: PromiseWithResolvers<void>
  /** Where its platforms are built on several nodes; `node` is the first of them then. */
  readonly split?: SplitBuild | undefined
  /** Its Ref at the daemon, where that is not the client's. */
  readonly ref?: string | undefined
  /** Of a split build: how it becomes one of a single node. */
  readonly fallback?: Fallback | undefined
}

/** The way back from several nodes to one, for a client that turns out to put platforms together itself. */
export interface Fallback {
  /** Aborts when the way is taken. */
  readonly taken: AbortSignal
  take(): void
  /** The build as its one node has it; rejects when there is none, or the build has ended otherwise. */
  readonly build: PromiseWithResolvers<Build>
}

/** What all calls of a gateway share. */
export interface RelayContext {
  readonly directory: Directory
  readonly placer: Placer
  readonly config: GatewayConfig
  readonly logger: Logger
  /** By Ref, which is also the build id of LLBBridge calls. */
  readonly builds: Bindings<Build>
  /** By session id: where the session's builds go. */
  readonly sessions: Bindings<SessionPlace>
  /** By session id: whose it is. */
  readonly sessionOwners: Owners
  /** What the cluster says of proxies, besides the nodes. */
  readonly proxies: ProxySources
  readonly activity: Activity
  /** Who may do what. */
  readonly admission: Admission
  /** When a placed build may start. */
  readonly turns: Turns
  /** Told how builds and calls went. */
  readonly telemetry: Telemetry
  /** The ways to the nodes' daemons. */
  readonly connections: NodeConnections
  /** What daemons said of themselves last. */
  readonly remembered: Remembered
  /** What builds returned, for who may read it. */
  readonly blobs: Blobs
  /** Records that were deleted a moment ago. */
  readonly deleted: Deleted
  /** Milliseconds for a node's part of a merged answer. Default: as long as the question may take. */
  readonly patience: number | undefined
  /** What is done about images that were built. Absent where nodes have no agents. */
  readonly images: ImageWork | undefined
  readonly now: () => Date
  /** Why this gateway should get no more clients, or undefined while it should. */
  readonly refusing: () => string | undefined
  /** Aborts when it should get no more. */
  readonly draining: AbortSignal
  /** Aborts when it closes. */
  readonly ending: AbortSignal
}

/** What daemons said of themselves last, for clients that come while those are being restarted. Encoded messages. */
export interface Remembered {
  pong?: Uint8Array
  info?: Uint8Array
  workers?: readonly WorkerRecord[]
}

/** One gRPC call of a client. */
export interface Call {
  readonly stream: Http2Stream
  readonly path: string
  readonly raw: RawHeaders
  /** Memory for a request that is decoded here. */
  readonly messages: BodyRoom
  readonly caller: Caller
  readonly upstreams: Upstreams
  /** Why builds of this connection are not taken; undefined when they are. */
  readonly refusal: string | undefined
  /** Aborts when the client gives the call up or is gone. */
  readonly signal: AbortSignal
}
