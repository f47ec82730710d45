import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { createServer as createTlsServer, type TLSSocket } from 'node:tls'
import { agentPaths } from '../../api/agent-api.ts'
import type { Logger } from '../../kernel/log.ts'
import type { TlsMaterial, TlsSource } from '../../kernel/tls/material.ts'

export interface FrontOptions {
  readonly host?: string
  /** 0 takes a free one. */
  readonly port: number
  readonly tls: TlsSource
  /** The URI that a client's certificate must carry: the gateway's. */
  readonly client: string
  /** buildkitd's unix socket. */
  readonly socket: string
  /** Answer of the agent API's proxy path. */
  readonly proxy: Readonly<Record<string, string>>
  readonly log: Logger
}

export interface Front {
  readonly port: number
  /** Takes no more connections and cuts those that are there. */
  close(): Promise<void>
}

/**
 * The agent's mTLS port. buildkitd reads a certificate once and trusts every client of its CA; this front renews
 * certificates while builds run and lets only the gateway in. ALPN decides: `http/1.1` is the agent's API, everything
 * else is piped to buildkitd byte for byte, each direction closed on its own.
 */
export async function startFront(options: FrontOptions): Promise<Front> {
  const open = new Set<Socket>()
  const api = createHttpServer((request, response) => {
    const known = request.url === agentPaths.proxy
    if (!known || request.method !== 'GET') {
      response.writeHead(known ? 405 : 404).end()
      return
    }
    response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' })
    response.end(JSON.stringify(options.proxy))
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
      // A gateway whose node vanished leaves no FIN: the kernel notices within a few minutes.
      keepAlive: true,
      keepAliveInitialDelay: 60_000,
    },
    (socket) => {
      socket.on('error', () => socket.destroy())
      if (!hasUri(socket, options.client)) {
        options.log.warn({ from: socket.remoteAddress }, 'refused a client whose certificate is not the gateway’s')
        socket.destroy()
        return
      }
      if (socket.alpnProtocol === 'http/1.1') api.emit('connection', socket)
      else bridge(socket, connect({ path: options.socket, allowHalfOpen: true }))
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
function hasUri(socket: TLSSocket, uri: string): boolean {
  const names = socket.getPeerX509Certificate()?.subjectAltName
  return socket.authorized && (names?.split(', ').includes(`URI:${uri}`) ?? false)
}

/**
 * Joins two sockets. `pipe` keeps the back-pressure and passes an end on, so either direction may end before the
 * other; when buildkitd is gone, the client's connection is cut at once.
 */
function bridge(client: TLSSocket, daemon: Socket): void {
  client.pipe(daemon)
  daemon.pipe(client)
  daemon.on('error', () => client.destroy())
  daemon.on('close', () => client.destroySoon())
  client.on('close', () => daemon.destroy())
}
