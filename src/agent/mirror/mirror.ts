import type { Logger } from '../../kernel/log.ts'
import type { TlsSource } from '../../kernel/tls/material.ts'
import type { ContainerdCall } from '../host/containerd-call.ts'
import type { Handler } from '../front/handlers.ts'
import { startBases } from './bases/server.ts'
import { builtContent, type BuiltRecords } from './built-content.ts'
import { contentStore } from './content.ts'
import type { Gateways } from './gateways.ts'
import { discardIngest } from './ingest.ts'
import { createDeliveries, type Deliveries } from './deliveries.ts'
import { createLinks } from './links.ts'
import { createLookups } from './lookups.ts'
import { labelledContent } from './ordinary/labelled-content.ts'
import { createOrdinary } from './ordinary/ordinary.ts'
import type { PublicManifests } from './ordinary/public-manifests.ts'
import { peerHandler } from './peer-handler.ts'
import { peerClient } from './peers.ts'
import { createRemote } from './remote.ts'
import { createRequests } from './requests.ts'
import { type MirrorServer, startMirrorServer } from './server.ts'
import { createSource } from './source.ts'
import { createUploads } from './uploads.ts'

export interface MirrorOptions {
  /** containerd's root directory. */
  readonly containerdRoot: string
  readonly containerd: ContainerdCall
  readonly records: BuiltRecords
  readonly gateways: Gateways
  /** Our certificate for other agents; may come late. */
  readonly tls: Promise<TlsSource>
  readonly host?: string
  readonly port: number
  readonly token?: string
  readonly log: Logger
  /** Milliseconds for which one request waits for a build. */
  readonly hold?: number
  /** The kubelet pulls one image at a time. */
  readonly serial?: boolean
  /** For images that insitu did not build; undefined: they are not served. */
  readonly registries?: PublicManifests | undefined
  /** Most nodes that read from this one at a time. */
  readonly uploads?: number
  /** The process id of the daemon that may ask for bases, while one runs. Without it there is no port for that. */
  readonly daemon?: () => number | undefined
}

export interface Mirror {
  readonly server: MirrorServer
  /** For the build daemon, on this loopback. */
  readonly bases: MirrorServer | undefined
  /** For other agents, on the mTLS port. */
  readonly handler: Handler
  /** Bytes of content that came from other nodes since the start. */
  readonly received: () => number
  readonly deliveries: Deliveries
  /** Bytes of an image that comes or came from other nodes, once its manifests are here. */
  readonly sizeOf: (digest: string) => number | undefined
  close(): Promise<void>
}

/**
 * The registry of a node: its own content, that of its peers, and the builds that are under way.
 * @throws anything, a port that is taken for one; then the gateways are closed.
 */
export async function startMirror(options: MirrorOptions): Promise<Mirror> {
  const { records, gateways, log } = options
  const store = contentStore(options.containerdRoot)
  const built = builtContent(records, store)
  const deliveries = createDeliveries()
  const asked = createLookups({ gateways })
  const lookups = deliveries.planned(asked)
  const client = peerClient({ tls: () => options.tls })
  const links = createLinks()
  const source = createSource({ client, links, log })
  const remote = createRemote({ source, links, lookups, planned: deliveries.peers, log })
  const { registries } = options
  const ordinary =
    registries &&
    createOrdinary({
      ...{ registries, lookups: asked },
      remote: createRemote({ source, links, lookups: asked, planned: () => [], log }),
    })
  const discard = async (digest: string): Promise<void> => {
    await discardIngest(options.containerd, digest).catch((error: unknown) =>
      log.warn({ err: error, digest }, 'what containerd has of a damaged layer could not be discarded'),
    )
  }
  let received = 0
  const servers: MirrorServer[] = []
  const close = async (): Promise<void> => {
    await Promise.all(servers.map((one) => one.close()))
    client.close()
    gateways.close()
  }
  const opened = async (starting: Promise<MirrorServer>): Promise<MirrorServer> => {
    try {
      const started = await starting
      servers.push(started)
      return started
    } catch (error) {
      await close()
      throw error
    }
  }
  const server = await opened(
    startMirrorServer({
      ...{ port: options.port, token: options.token },
      ...(options.host === undefined ? {} : { host: options.host }),
      handle: createRequests({
        ...{ records, store, lookups, built, remote, ordinary, source, links, log },
        ...(options.hold === undefined ? {} : { hold: options.hold }),
        serial: options.serial ?? false,
        discard,
        count(repository, bytes) {
          received += bytes
          deliveries.count(repository, bytes)
        },
      }),
    }),
  )
  const { daemon } = options
  const bases =
    daemon &&
    (await opened(
      startBases({
        ...{ store, built, source, links, log, gateways, daemon, discard },
        // A record of the node's is for what its containerd has under the name.
        records: { find: (name) => records.find(name), list: () => records.list(), revision: () => records.revision() },
      }),
    ))
  const uploads = createUploads(options.uploads === undefined ? {} : { most: options.uploads })
  return {
    server,
    bases,
    handler: peerHandler({
      ...{ records, built, store, uploads },
      pulled: registries && labelledContent(options.containerd),
    }),
    received: () => received,
    deliveries,
    sizeOf: remote.sizeOf,
    close,
  }
}
