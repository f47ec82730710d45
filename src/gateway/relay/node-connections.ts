import type { Duplex } from 'node:stream'
import type { BuildNode } from '../directory/directory.ts'
import type { Vigil } from '../directory/vigil.ts'
import { describeError, InsituError } from '../../kernel/errors.ts'
import { Http2Client } from '../http2/client.ts'
import type { Http2Stream } from '../http2/stream.ts'
import type { Allowance } from '../http2/windows.ts'
import type { Telemetry, Traffic } from '../telemetry/telemetry.ts'
import { type RawHeaders, upstreamHeaders } from './headers.ts'
import { connectionWindow, sharedOptions } from './tuning.ts'

/** An HTTP/2 connection to a node's daemon. */
export interface NodeConnection {
  /** @throws InsituError NODE_LOST */
  request(raw: RawHeaders, allowance: Allowance): Http2Stream
  /** Why the connection is gone; undefined while it is there. */
  lost(): InsituError | undefined
  /** The same with what the node says about its daemon's end, for clients; takes up to two seconds. */
  whyLost(): Promise<InsituError | undefined>
  /** The daemon takes no new calls on it. */
  leaving(): boolean
  /** The error of a node that stopped to answer a moment ago. */
  silent(): InsituError | undefined
}

/** A use of a connection. */
export interface Taken {
  readonly connection: NodeConnection
  /** Once: its calls have ended. */
  readonly release: () => void
}

/**
 * The connections to the nodes' daemons. All clients share one for each node: most of what an idle session costs the gateway and the
 * agent is its connection with TLS, and a build need not wait for a handshake.
 */
export interface NodeConnections {
  /** @throws InsituError NODE_UNREACHABLE (UNAVAILABLE) with the node and the cause. */
  take(node: BuildNode): Promise<Taken>
}

export interface NodeConnectionsOptions {
  /** Notices nodes that vanish without a word; their connections end. */
  readonly vigil: Vigil
  /** Counts connections and bytes. */
  readonly telemetry: Pick<Telemetry, 'opened'>
  /** Milliseconds after which one gets no new clients: certificates, addresses and networks change. Default a minute. */
  readonly fresh?: number
}

/** Milliseconds for which calls to a node that fell silent fail at once. */
const silenceTime = 20_000

interface Shared {
  readonly connection: NodeConnection
  /** Whether clients that come now should have it. */
  usable(): boolean
  destroy(): void
  users: number
}

export function createNodeConnections(options: NodeConnectionsOptions): NodeConnections {
  const { vigil, telemetry, fresh = 60_000 } = options
  /** By node: which one its next client gets. */
  const latest = new Map<string, Shared>()
  const dials = new Map<string, Promise<Shared>>()

  /** With its last client: a node may be switched off and on while nobody looks. */
  const end = (node: string, one: Shared): void => {
    if (latest.get(node) === one) latest.delete(node)
    one.destroy()
  }
  const open = async (node: BuildNode): Promise<Shared> => {
    const opened = performance.now()
    const instance = node.instance?.()
    const stream = await dial(node)
    const watched = vigil.over(node, (reason) => stream.destroy(reason))
    const counted = telemetry.opened(stream)
    stream.once('close', () => {
      watched()
      counted()
    })
    const client = new Http2Client(stream, sharedOptions)
    client.setWindow(connectionWindow)
    const one: Shared = {
      connection: connectionOf(node, client, stream),
      usable() {
        if (client.closing || performance.now() - opened >= fresh || node.instance?.() !== instance) return false
        // A proxy before a daemon may allow few calls at once. Clients should not wait for each other's, and those that are there begin more.
        return !client.crowded
      },
      destroy: () => client.destroy(),
      users: 0,
    }
    latest.set(node.name, one)
    return one
  }
  const current = ({ name }: BuildNode): Shared | undefined => {
    const known = latest.get(name)
    return known?.usable() ? known : undefined
  }
  const dialled = (node: BuildNode): Promise<Shared> => {
    const { name } = node
    const dialling = dials.get(name) ?? open(node).finally(() => dials.delete(name))
    dials.set(name, dialling)
    return dialling
  }

  return {
    async take(node) {
      // One that is there is taken at once: its last client may go before a promise settles.
      const one = current(node) ?? (await dialled(node))
      one.users += 1
      return {
        connection: one.connection,
        release() {
          one.users -= 1
          if (one.users === 0) end(node.name, one)
        },
      }
    },
  }
}

async function dial(node: BuildNode): Promise<Duplex & Traffic> {
  try {
    return await node.dial()
  } catch (error) {
    throw new InsituError('NODE_UNREACHABLE', `node ${node.name}: its build daemon cannot be reached`, {
      status: 'UNAVAILABLE',
      cause: error,
    })
  }
}

function connectionOf({ name: node, fate }: BuildNode, client: Http2Client, stream: Duplex): NodeConnection {
  let silent: number | undefined
  stream.once('close', () => {
    if (stream.errored instanceof InsituError) silent = performance.now()
  })
  const lost = (): InsituError | undefined => {
    if (!client.destroyed) return undefined
    return new InsituError('NODE_LOST', `node ${node}: the connection to its build daemon was lost`, {
      status: 'UNAVAILABLE',
      fix: 'run the build again; the log of the node says why its daemon went away',
      ...(client.reason === undefined ? {} : { cause: describeError(client.reason) }),
    })
  }
  const explain = async (error: InsituError): Promise<InsituError> => {
    // Where we ended it ourselves that is the cause.
    if (!fate || client.reason instanceof InsituError) return error
    try {
      const words = await fate()
      const { code, message, status, fix } = error
      return words === undefined ? error : new InsituError(code, `${message}: ${words}`, { status, fix })
    } catch {
      return error
    }
  }
  let explained: Promise<InsituError> | undefined
  return {
    request(raw, allowance) {
      const gone = lost()
      if (gone) throw gone
      return client.request(upstreamHeaders(raw), allowance)
    },
    whyLost() {
      const error = lost()
      return error ? (explained ??= explain(error)) : Promise.resolve(undefined)
    },
    lost,
    leaving: () => client.closing,
    silent: () => (silent !== undefined && performance.now() - silent < silenceTime ? lost() : undefined),
  }
}
