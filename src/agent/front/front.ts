import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { createServer as createTlsServer, type TLSSocket } from 'node:tls'
import type { Logger } from '../../kernel/log.ts'
import type { TlsMaterial, TlsSource } from '../../kernel/tls/material.ts'
import { dispatch, type Handler, type Identity } from './handlers.ts'
import { passOn } from './pass-on.ts'
import { createVanished, type VanishedOptions } from './vanished.ts'

export interface FrontOptions {
  readonly host?: string
  /** 0 takes a free one. */
  readonly port: number
  readonly tls: TlsSource
  /** The URI that a gateway's certificate carries. */
  readonly client: string
  /** The URI that other agents' certificates carry. They may call handlers that allow it, and nothing else. */
  readonly peer?: string
  /** buildkitd's unix socket. */
  readonly socket: string
  /** The agent's API, as it is now. */
  readonly handlers: () => readonly Handler[]
  readonly log: Logger
  /** Milliseconds for which a connection waits for a daemon that is just being started again. Default 10,000. */
  readonly patience?: number
  /** When a gateway counts as gone. */
  readonly vanished?: Omit<VanishedOptions, 'onVanished'>
}

export interface Front {
  readonly port: number
  /** Takes no more connections and cuts those that are there. */
  close(): Promise<void>
}

/**
 * The agent's mTLS port. buildkitd reads a certificate once and trusts every client of its CA; this front renews
 * certificates while builds run and lets only gateways and, for handlers that say so, other agents in. ALPN decides:
 * `http/1.1` is the agent's API, everything else is piped to buildkitd byte for byte, each direction closed on its own.
 */
export async function startFront(options: FrontOptions): Promise<Front> {
  const open = new Set<Socket>()
  const identities = new WeakMap<Socket, Identity>()
  const vanished = createVanished({
    ...options.vanished,
    onVanished: (from, connections) =>
      options.log.warn({ from, connections }, 'nothing comes from a gateway any more: what it had begun is cut off'),
  })
  // Agents that read from each other keep their connections from one image to the next.
  // A turn is a request without end.
  const api = createHttpServer({ keepAliveTimeout: 60_000, requestTimeout: 0 }, (request, response) => {
    const identity = identities.get(request.socket)
    if (!identity) return void response.destroy()
    void dispatch(request, response, { identity, handlers: options.handlers(), log: options.log })
  })
  const server = createTlsServer(
    {
      ...context(options.tls.current()),
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.3',
      ALPNProtocols: ['h2', 'http/1.1'],
      allowHalfOpen: true,
      noDelay: true,
      // For idle connections of agents; for gateways see vanished.ts.
      keepAlive: true,
      keepAliveInitialDelay: 60_000,
    },
    (socket) => {
      socket.on('error', () => socket.destroy())
      const identity = identify(socket, options)
      const http = socket.alpnProtocol === 'http/1.1'
      // buildkitd trusts everybody at its socket: that way is the gateway's alone.
      if (!identity || (!http && identity !== 'gateway')) {
        options.log.warn({ from: socket.remoteAddress }, 'refused a client whose certificate is not the gateway’s')
        socket.destroy()
        return
      }
      identities.set(socket, identity)
      if (identity === 'gateway') vanished.heard(socket.remoteAddress)
      if (http) api.emit('connection', socket)
      else {
        vanished.watch(socket)
        toDaemon(socket, options.socket, performance.now() + (options.patience ?? 10_000))
      }
    },
  )
  server.on('connection', (socket) => {
    open.add(socket)
    socket.on('close', () => open.delete(socket))
  })
  server.on('tlsClientError', (error, socket) => {
    options.log.debug({ from: socket.remoteAddress, err: error.message }, 'TLS handshake failed')
  })
  const unsubscribe = options.tls.onChange((material) => server.setSecureContext(context(material)))
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(options.port, options.host, resolve)
    })
  } catch (error) {
    unsubscribe()
    throw error
  }
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        unsubscribe()
        server.close(() => resolve())
        for (const socket of open) socket.destroy()
      }),
  }
}

const context = ({ cert, key, ca }: TlsMaterial): TlsMaterial => ({ cert, key, ca })

/** Entries of subjectAltName are `TYPE:VALUE`, separated by `, `; Node quotes values that could fake a separator. */
function identify(socket: TLSSocket, { client, peer }: FrontOptions): Identity | undefined {
  if (!socket.authorized) return undefined
  const names = new Set(socket.getPeerX509Certificate()?.subjectAltName?.split(', '))
  if (names.has(`URI:${client}`)) return 'gateway'
  return peer !== undefined && names.has(`URI:${peer}`) ? 'agent' : undefined
}

/** Milliseconds between two tries. */
const interval = 100
const noDaemon: ReadonlySet<string | undefined> = new Set(['ECONNREFUSED', 'ENOENT'])

/**
 * Connects a client with the daemon. Until gateways have read that the daemon ended they send it builds, of which
 * nothing is lost yet: what comes before the next daemon listens waits for it.
 * @param end until when, by performance.now()
 */
function toDaemon(client: TLSSocket, path: string, end: number): void {
  if (client.destroyed) return
  const daemon = connect({ path, allowHalfOpen: true })
  const refused = (error: NodeJS.ErrnoException): void => {
    if (!noDaemon.has(error.code) || performance.now() >= end) return void client.destroy()
    setTimeout(() => toDaemon(client, path, end), interval).unref()
  }
  daemon.once('error', refused)
  daemon.once('connect', () => {
    daemon.off('error', refused)
    if (client.destroyed) daemon.destroy()
    else bridge(client, daemon)
  })
}

/**
 * Joins two sockets. Either direction may end before the other; when buildkitd is gone, the client's connection is cut at
 * once.
 */
function bridge(client: TLSSocket, daemon: Socket): void {
  passOn(client, daemon)
  passOn(daemon, client)
  daemon.on('error', () => client.destroy())
  daemon.on('close', () => client.destroySoon())
  client.on('close', () => daemon.destroy())
}
