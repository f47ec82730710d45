import type { BuildNode } from '../directory/directory.ts'
import { InsituError } from '../../kernel/errors.ts'
import { errorCodes } from '../http2/errors.ts'
import type { Http2Stream } from '../http2/stream.ts'
import type { RawHeaders } from './headers.ts'
import type { Allowance } from '../http2/windows.ts'
import type { NodeConnections, Taken } from './node-connections.ts'
import { allowance } from './tuning.ts'

/** The way to a node's daemon for the calls of one client connection. */
export interface Upstream {
  readonly node: string
  request(raw: RawHeaders): Http2Stream
  /** Why the connection is gone; undefined while it is there. */
  lost(): InsituError | undefined
  /** The same with what the node says about its daemon's end, for clients; takes up to two seconds. */
  whyLost(): Promise<InsituError | undefined>
}

/** The ways of one client connection, opened when first needed. */
export interface Upstreams {
  /**
   * @param aside for a question in passing: the node does not become the one that was used last.
   * @throws InsituError NODE_UNREACHABLE (UNAVAILABLE) with the node and the cause.
   */
  to(node: BuildNode, aside?: boolean): Promise<Upstream>
  /** The node that was used last, while its connection is there. */
  latest(): string | undefined
  /** Ends every call. */
  close(): void
}

/** @param connections which other clients use too. */
export function createUpstreams(connections: NodeConnections): Upstreams {
  const open = new Map<string, Promise<Way>>()
  const ways = new Set<Way>()
  const budget = allowance()
  let closed = false
  let latest: string | undefined

  const take = async (node: BuildNode): Promise<Way> => {
    const way = wayOver(node.name, await connections.take(node), budget)
    if (closed) way.close()
    else ways.add(way)
    return way
  }

  return {
    async to(node, aside = false) {
      const known = await open.get(node.name)?.catch(() => undefined)
      if (known?.usable() === true) {
        if (!aside) latest = node.name
        return known
      }
      // A node that has just fallen silent would let each call of the builds it had wait for its dial again.
      const silence = known?.silent()
      if (silence) throw silence
      if (known?.lost() && ways.delete(known)) known.close()
      const pending = open.get(node.name)
      // Somebody else may have dialled anew while this call waited.
      const current = pending && (await pending.catch(() => undefined)) !== known ? pending : take(node)
      open.set(node.name, current)
      const way = await current.catch((error: unknown) => {
        if (open.get(node.name) === current) open.delete(node.name)
        throw error
      })
      if (!aside) latest = node.name
      return way
    },
    latest: () => latest,
    close() {
      closed = true
      for (const way of ways) way.close()
      ways.clear()
      open.clear()
    },
  }
}

interface Way extends Upstream {
  /** The daemon takes new calls on it. */
  usable(): boolean
  silent(): InsituError | undefined
  close(): void
}

/** The calls of one client on a connection: what is left of them ends with the client. */
function wayOver(node: string, { connection, release }: Taken, budget: Allowance): Way {
  const calls = new Set<Http2Stream>()
  let closed = false
  return {
    node,
    request(raw) {
      if (closed) throw new InsituError('CLIENT_GONE', 'the client is gone', { status: 'CANCELLED' })
      const call = connection.request(raw, budget)
      calls.add(call)
      call.once('close', () => calls.delete(call))
      return call
    },
    lost: () => connection.lost(),
    whyLost: () => connection.whyLost(),
    silent: () => connection.silent(),
    usable: () => !connection.lost() && !connection.leaving(),
    close() {
      if (closed) return
      closed = true
      // What has come as a whole can still be read, also when the connection is lost and followed by a new one.
      for (const call of calls) if (!call.closed) call.close(errorCodes.CANCEL)
      release()
    },
  }
}
