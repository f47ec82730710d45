import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { GatewayConfig } from '../api/config.ts'
import { grpcStatus } from '../kernel/errors.ts'
import type { Logger } from '../kernel/log.ts'
import type { TlsSource } from '../kernel/tls/material.ts'
import { type Activity, createActivity } from './correlate/activity.ts'
import { createBindings } from './correlate/bindings.ts'
import { createOwners } from './correlate/owners.ts'
import type { SpanExporter } from './telemetry/spans.ts'
import { createTelemetry } from './telemetry/telemetry.ts'
import { createVigil } from './directory/vigil.ts'
import { createBlobs } from './history/blobs.ts'
import { createDeleted } from './history/deleted.ts'
import type { ImageWork } from './delivery/image-work.ts'
import type { Directory } from './directory/directory.ts'
import type { Address } from './listener/address.ts'
import { listen } from './listener/listener.ts'
import { type Admission, admitAll } from './policy/admission.ts'
import type { Placer } from './placement/placer.ts'
import { noQueue, type Turns } from './queue/turns.ts'
import type { SessionPlace } from './split/split-build.ts'
import { noSources, type ProxySources } from './proxy/sources.ts'
import { type ClientConnections, createClientConnections, type PodLookup } from './relay/connections.ts'
import type { Build, RelayContext } from './relay/context.ts'
import { createNodeConnections } from './relay/node-connections.ts'
import type { HttpHandlers } from './relay/http.ts'

export interface GatewayOptions {
  readonly listen: readonly Address[]
  readonly directory: Directory
  readonly placer: Placer
  /** Certificates for TLS clients. Without them only plaintext is served. */
  readonly tls?: TlsSource | undefined
  /** Plain requests over TLS, by `METHOD /path`. */
  readonly httpHandlers?: HttpHandlers | undefined
  /** The pod behind an IP address. */
  readonly podLookup?: PodLookup | undefined
  readonly config: GatewayConfig
  readonly logger: Logger
  /** Shared with the placer, which prefers idle nodes. */
  readonly activity?: Activity | undefined
  /** Who may do what. Default: everybody everything. */
  readonly admission?: Admission | undefined
  /** What the cluster says of proxies. Default: nothing. */
  readonly proxies?: ProxySources | undefined
  /** When a placed build may start. Default: at once. */
  readonly turns?: Turns | undefined
  /** Milliseconds for a node's part of a merged answer. Default: as long as the question may take. */
  readonly patience?: number | undefined
  /** What is done about images that were built. Default: pods that wait on the builder are woken. */
  readonly images?: ImageWork | undefined
  /** Where spans of builds go, besides to the daemon. Default: nowhere. */
  readonly spans?: SpanExporter | undefined
  readonly now?: (() => Date) | undefined
}

export interface Gateway {
  readonly addresses: readonly Address[]
  /** Why it should get no more clients; undefined while it should. For /readyz. */
  refusing(): string | undefined
  /** Text for /metrics. */
  metrics(): string
  /**
   * Lets running builds end, and those whose clients are connected already: nobody's build fails because of a rollout.
   * Connections that have nothing open are told to go elsewhere. Resolves when no build is left.
   * @param grace milliseconds after which it resolves anyway.
   * @param settle milliseconds in which new connections may still build: not every node hears at once that this
   * gateway is leaving.
   * @returns how many builds were still running.
   */
  drain(grace: number, settle?: number): Promise<number>
  /** Ends everything at once; calls that are open end with UNAVAILABLE. */
  close(): Promise<void>
}

/** Status and LLBBridge calls that follow the end of a build still find its node for so long, milliseconds. */
const linger = 30_000

/**
 * Milliseconds that clients have after the last build to read its progress to the end and to close their sessions.
 * Followers of the history and of other things that never end are cut off then.
 */
const lastWords = 5000

/** Wires a gateway and starts it. @throws InsituError LISTEN */
export async function createGateway(options: GatewayOptions): Promise<Gateway> {
  const { logger, directory, config } = options
  const activity = options.activity ?? createActivity()
  let stopping: string | undefined
  let closing: string | undefined
  const draining = new AbortController()
  const ending = new AbortController()
  const telemetry = createTelemetry({
    logger,
    running: () => activity.total,
    clients: () => clients.size,
    spans: options.spans,
  })
  const connections = createNodeConnections({ vigil: createVigil(), telemetry })
  const context: RelayContext = {
    directory,
    placer: options.placer,
    config,
    logger,
    builds: createBindings<Build>({ linger }),
    sessions: createBindings<SessionPlace>({ linger: 0 }),
    sessionOwners: createOwners(),
    activity,
    admission: options.admission ?? admitAll,
    turns: options.turns ?? noQueue,
    images: options.images,
    proxies: options.proxies ?? noSources,
    now: options.now ?? (() => new Date()),
    telemetry,
    connections,
    remembered: {},
    blobs: createBlobs(),
    deleted: createDeleted(),
    patience: options.patience,
    refusing: () => stopping,
    draining: draining.signal,
    ending: ending.signal,
  }
  const clients: ClientConnections = createClientConnections({
    context,
    refusal: () => closing,
    podLookup: options.podLookup,
    httpHandlers: options.httpHandlers ?? {},
  })
  const listener = await listen({
    addresses: options.listen,
    tls: options.tls,
    limits: config.limits,
    logger,
    onConnection: (connection) => clients.add(connection),
  })
  return {
    addresses: listener.addresses,
    refusing: () => stopping,
    metrics: () => telemetry.render(),
    async drain(grace, settle = 0) {
      stopping = 'this gateway is stopping; run the build again'
      draining.abort(new Error(stopping))
      const over = new AbortController()
      const timer = setTimeout(() => over.abort(new Error('the grace is over')), grace)
      const finished = async (): Promise<void> => {
        if (settle > 0) await sleep(settle, undefined, { signal: over.signal }).catch(() => undefined)
        closing = stopping
        clients.retire()
        do {
          await activity.idle()
          await clients.quiet(lastWords, over.signal)
        } while (activity.total > 0 && !over.signal.aborted)
      }
      await Promise.race([finished(), once(over.signal, 'abort')])
      clearTimeout(timer)
      return activity.total
    },
    async close() {
      stopping ??= 'this gateway is stopping; run the build again'
      closing ??= stopping
      ending.abort(new Error(stopping))
      const closed = listener.close()
      await clients.close({ code: grpcStatus.UNAVAILABLE, message: 'this gateway was stopped' })
      await closed
    },
  }
}
