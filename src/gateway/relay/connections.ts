import { EventEmitter, once } from 'node:events'
import { describeError, InsituError } from '../../kernel/errors.ts'
import { type Status, status as grpc, statusOf } from '../../kernel/grpc/status.ts'
import { admitPlaintext, plainAddress, type PodSource } from '../listener/admit.ts'
import type { Http2Server } from '../http2/server.ts'
import type { Http2Stream } from '../http2/stream.ts'
import type { Caller } from '../listener/caller.ts'
import type { Connection } from '../listener/listener.ts'
import type { RelayContext } from './context.ts'
import { endCall } from './end-call.ts'
import { header, headerObject } from './headers.ts'
import { callAt, certificateEnded, outlivesCertificate } from './expiry.ts'
import { createHttpAnswers, type HttpHandlers } from './http.ts'
import { createIdentityLimit } from './identity-limit.ts'
import { createKeepalive } from './keepalive.ts'
import { route } from './router.ts'
import { connectionWindow } from './tuning.ts'
import { createUpstreams } from './upstream.ts'

/** The pod behind an address; `patience`: milliseconds to wait for one that is not known yet. */
export type PodLookup = (address: string, patience?: number) => Promise<PodSource | undefined>

/** Milliseconds that a refused client is given until its address may turn out to be a pod's. */
const lateAddress = 3000

/** Milliseconds that a refused client may stay: time to read its answers, or to ask for its first certificate … */
const refusedFor = 60_000

/** … and while so many of them stay: strangers should not fill our memory. */
const mostRefused = 200
const refusedInCrowd = 2000

/**
 * Milliseconds after a connection's last call until it counts as idle. The calls of one build come one by one, and where the
 * first is refused the client should hear why, and not that its other calls crossed the end of the connection.
 */
const betweenCalls = 1000

/** One for all calls: a stack trace for each would be a twentieth of what a short call costs. */
const callEnded = new Error('the client ended the call')

export interface ClientConnectionsOptions {
  /** Why builds of connections that come now are not taken; undefined when they are. */
  readonly refusal: () => string | undefined
  readonly context: RelayContext
  readonly podLookup: PodLookup | undefined
  readonly httpHandlers: HttpHandlers
}

export interface ClientConnections {
  add(connection: Connection): void
  /** Resolves when no call is open, after so many milliseconds, or when the signal aborts. */
  quiet(patience: number, signal: AbortSignal): Promise<void>
  /** How many are connected. */
  readonly size: number
  /** Tells every connection, as soon as it has no call open, that its next calls should go over a new one. */
  retire(): void
  /** Ends every open call with the status, then the connections. */
  close(status: Status): Promise<void>
}

/** Serves the calls of accepted connections. */
export function createClientConnections(options: ClientConnectionsOptions): ClientConnections {
  const { context } = options
  const open = new Map<Http2Server, Set<Http2Stream>>()
  const ended = new EventEmitter()
  const { limits } = context.config
  const identities = createIdentityLimit(limits)
  const http = createHttpAnswers(options.httpHandlers, context.logger)
  const keepalive = createKeepalive({ idle: limits.keepalive * 1000, answer: limits.keepaliveTimeout * 1000 })
  let retiring = false
  /** Connections whose certificate has ended. */
  const expired = new WeakSet<Http2Server>()
  const retireIdle = (session: Http2Server, streams: ReadonlySet<Http2Stream>): void => {
    // Calls that cross this are refused unread: gRPC repeats them over the new connection by itself.
    if ((retiring || expired.has(session)) && streams.size === 0) session.shutdown()
  }
  const refused = new Set<Http2Server>()
  const busy = (): boolean => [...open.values()].some((streams) => streams.size > 0)

  const add = (connection: Connection): void => {
    const { session } = connection
    const refusal = options.refusal()
    const streams = new Set<Http2Stream>()
    const upstreams = createUpstreams(context.connections)
    const admitted = identify(connection, options).then((caller) => {
      const { messages, release } = identities.claim(caller)
      if (session.destroyed) release()
      else session.once('close', release)
      return { caller, messages }
    })
    let said = false
    // Each call asks for the result too; a connection without calls need not.
    admitted.then(
      // Before it is known who that is, the protocol's small window holds: strangers cannot fill our memory.
      () => session.setWindow(connectionWindow),
      () => {
        // Agents may not build; they ask for images on warm connections.
        if (connection.agent) return
        const stay = refused.size < mostRefused ? refusedFor : refusedInCrowd
        refused.add(session)
        const timer = setTimeout(() => session.destroy(), stay).unref()
        session.once('close', () => {
          refused.delete(session)
          clearTimeout(timer)
        })
      },
    )
    open.set(session, streams)
    keepalive.watch(session)
    if (connection.certificate && connection.certificateEnd !== undefined) {
      const expire = (): void => {
        expired.add(session)
        retireIdle(session, streams)
      }
      session.once('close', callAt(connection.certificateEnd, expire))
    }
    session.on('oversized', (stream) => endCall(stream, oversized(limits.headerSize)))
    session.on('close', () => {
      open.delete(session)
      upstreams.close()
    })
    session.on('stream', (stream, raw) => {
      streams.add(stream)
      const gone = new AbortController()
      stream.once('close', () => {
        streams.delete(stream)
        ended.emit('call')
        if (retiring || expired.has(session)) setTimeout(() => retireIdle(session, streams), betweenCalls).unref()
        gone.abort(callEnded)
      })
      const path = header(raw, ':path') ?? ''
      if (!(header(raw, 'content-type') ?? '').startsWith('application/grpc')) {
        const from = { remoteAddress: connection.remote.address, agent: connection.agent, signal: gone.signal }
        void http.answer(stream, headerObject(raw), { ...from, secure: connection.secure, connection: session })
        return
      }
      if (expired.has(session) && !outlivesCertificate(path)) return endCall(stream, statusOf(certificateEnded()))
      void admitted.then(
        (mine) => route(context, { ...mine, stream, path, raw, upstreams, refusal, signal: gone.signal }),
        (error: unknown) => {
          // Once for each connection: calls cost a stranger nothing, and logs should not fill with them.
          const level = said ? 'debug' : 'info'
          said = true
          const { address } = connection.remote
          context.logger[level]({ remote: address, path, err: describeError(error) }, 'client refused')
          endCall(stream, statusOf(error))
        },
      )
    })
  }

  return {
    add,
    get size() {
      return open.size
    },
    async quiet(patience, signal) {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(patience)])
      while (busy() && !limit.aborted) await once(ended, 'call', { signal: limit }).catch(() => undefined)
    },
    retire() {
      retiring = true
      for (const [session, streams] of open) retireIdle(session, streams)
    },
    async close(status) {
      await Promise.all(
        [...open].map(([session, streams]) => {
          for (const stream of streams) endCall(stream, status)
          return endSession(session)
        }),
      )
    },
  }
}

const oversized = (most: number): Status =>
  grpc('RESOURCE_EXHAUSTED', `the call has more than ${most >> 10} KiB of header fields, gateway.limits.headerSize`)

/** Milliseconds that a gateway which ends gives the last answers to leave. */
const lastAnswers = 5000

/** Says goodbye and gives the last answers a moment to leave. */
function endSession(session: Http2Server): Promise<void> {
  return new Promise((resolve) => {
    if (session.destroyed) return resolve()
    const timer = setTimeout(() => session.destroy(), lastAnswers)
    session.once('close', () => {
      clearTimeout(timer)
      resolve()
    })
    session.shutdown()
  })
}

/** A verified certificate says who it is; without one the source address decides. @throws InsituError */
async function identify(connection: Connection, options: ClientConnectionsOptions): Promise<Caller> {
  if (connection.certificate) return connection.certificate
  if (connection.certificateError !== undefined) {
    throw new InsituError('CERTIFICATE_REFUSED', `the client certificate is refused: ${connection.certificateError}`, {
      status: 'UNAUTHENTICATED',
      fix: 'get a new certificate from this cluster',
    })
  }
  const { address, unix } = connection.remote
  const { plaintext } = options.context.config
  const plain = plainAddress(address)
  const pod = unix ? undefined : await options.podLookup?.(plain)
  try {
    return admitPlaintext({ address, unix, pod }, plaintext)
  } catch (error) {
    // A pod that has just started can talk before its kubelet has told anybody its address.
    const late = unix || pod ? undefined : await options.podLookup?.(plain, lateAddress)
    if (!late) throw error
    return admitPlaintext({ address, unix, pod: late }, plaintext)
  }
}
