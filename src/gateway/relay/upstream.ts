import type { Duplex } from 'node:stream'
import type { BuildNode } from '../directory/directory.ts'
import type { Telemetry, Traffic } from '../telemetry/telemetry.ts'
import type { Vigil } from '../directory/vigil.ts'
import { describeError, InsituError } from '../../kernel/errors.ts'
import { Http2Client } from '../http2/client.ts'
import type { Http2Stream } from '../http2/stream.ts'
import { connectionWindow, upstreamOptions } from './tuning.ts'
import { upstreamHeaders, type RawHeaders } from './headers.ts'

/** One HTTP/2 connection to a node's daemon, for the calls of one client connection. */
export interface Upstream {
  readonly node: string
  request(raw: RawHeaders): Http2Stream
  /** Why the connection is gone; undefined while it is there. */
  lost(): InsituError | undefined
  /** The same with what the node says about its daemon's end, for clients; takes up to two seconds. */
  whyLost(): Promise<InsituError | undefined>
}

/** The upstream connections of one client connection, opened when first needed. */
export interface Upstreams {
  /**
   * @param aside for a question in passing: the node does not become the one that was used last.
   * @throws InsituError NODE_UNREACHABLE (UNAVAILABLE) with the node and the cause.
   */
  to(node: BuildNode, aside?: boolean): Promise<Upstream>
  /** The node that was used last, while its connection is there. */
  latest(): string | undefined
  close(): void
}

/**
 * @param vigil notices nodes that vanish without a word; their connections end.
 * @param telemetry counts connections and bytes.
 */
export function createUpstreams(vigil: Vigil, telemetry: Pick<Telemetry, 'opened'>): Upstreams {
  const open = new Map<string, Promise<Connection>>()
  const abort = new AbortController()
  let latest: string | undefined

  const dial = async (node: BuildNode): Promise<Connection> => {
    let stream: Duplex
    try {
      stream = await node.dial(abort.signal)
    } catch (error) {
      throw new InsituError('NODE_UNREACHABLE', `node ${node.name}: its build daemon cannot be reached`, {
        status: 'UNAVAILABLE',
        cause: error,
      })
    }
    const end = vigil.over(node, (reason) => stream.destroy(reason))
    const closed = telemetry.opened(stream as Duplex & Traffic)
    stream.once('close', () => {
      end()
      closed()
    })
    return establish(node, stream)
  }

  return {
    async to(node, aside = false) {
      const known = await open.get(node.name)?.catch(() => undefined)
      if (known && !known.lost() && !known.leaving()) {
        if (!aside) latest = node.name
        return known
      }
      // A node that has just fallen silent would let each call of the builds it had wait for its dial again.
      const silence = known?.silent()
      if (silence) throw silence
      const pending = open.get(node.name)
      // Somebody else may have dialled anew while this call waited.
      const current = pending && (await pending.catch(() => undefined)) !== known ? pending : dial(node)
      open.set(node.name, current)
      const connection = await current.catch((error: unknown) => {
        if (open.get(node.name) === current) open.delete(node.name)
        throw error
      })
      if (abort.signal.aborted) connection.destroy()
      if (!aside) latest = node.name
      return connection
    },
    latest: () => latest,
    close() {
      abort.abort(new Error('the client connection is closed'))
      for (const connection of open.values())
        connection.then(
          (c) => c.destroy(),
          () => undefined,
        )
      open.clear()
    },
  }
}

/** Milliseconds for which a client's calls to a node that fell silent fail at once. */
const silenceTime = 20_000

interface Connection extends Upstream {
  /** The daemon takes no new calls on this connection. */
  leaving(): boolean
  /** The error of a node that stopped to answer a moment ago. */
  silent(): InsituError | undefined
  destroy(): void
}

function establish({ name: node, fate }: BuildNode, stream: Duplex): Connection {
  const client = new Http2Client(stream, upstreamOptions)
  client.setWindow(connectionWindow)
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
    node,
    whyLost() {
      const error = lost()
      return error ? (explained ??= explain(error)) : Promise.resolve(undefined)
    },
    request(raw) {
      const gone = lost()
      if (gone) throw gone
      return client.request(upstreamHeaders(raw))
    },
    lost,
    silent: () => (silent !== undefined && performance.now() - silent < silenceTime ? lost() : undefined),
    leaving: () => client.closing,
    destroy: () => client.destroy(),
  }
}
