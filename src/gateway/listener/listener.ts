import { chmod, lstat, rm } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import {
  createServer as createTlsServer,
  type SecureContextOptions,
  type Server as TlsServer,
  type TLSSocket,
} from 'node:tls'
import { type Address, formatAddress } from './address.ts'
import { agentOfCertificate, type AgentIdentity, callerOfCertificate, refusedCertificate } from './certificate.ts'
import type { Caller } from './caller.ts'
import { defaultLimits, type LimitsConfig } from '../../api/limits.ts'
import { limitHandshakes } from './handshakes.ts'
import { looksLike } from './first-bytes.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import type { TlsMaterial, TlsSource } from '../../kernel/tls/material.ts'
import { Http2Server } from '../http2/server.ts'
import { clientStreamWindow } from '../relay/tuning.ts'

/** A client that speaks HTTP/2. Who it is may still turn out to be nobody who may build. */
export interface Connection {
  readonly session: Http2Server
  readonly secure: boolean
  /** From a verified client certificate. */
  readonly certificate: Caller | undefined
  /** When the certificate ends, in milliseconds since 1970; undefined without one. */
  readonly certificateEnd: number | undefined
  /** Why the certificate the client sent is not accepted. */
  readonly certificateError: string | undefined
  /** The agent at the other end: it may ask, and not build. */
  readonly agent: AgentIdentity | undefined
  /** IP address, or the path of our unix socket. */
  readonly remote: { readonly address: string; readonly unix: boolean }
}

export interface ListenerOptions {
  readonly addresses: readonly Address[]
  /** Without it TLS clients are cut off. */
  readonly tls?: TlsSource | undefined
  readonly onConnection: (connection: Connection) => void
  readonly logger: Logger
  readonly limits?: LimitsConfig
}

export interface Listener {
  /** Where it listens, with the ports that were chosen for port 0. */
  readonly addresses: readonly Address[]
  /** Stops accepting and removes unix sockets. Connections that are open stay. */
  close(): Promise<void>
}

/**
 * Listens for gRPC clients. One port takes plaintext HTTP/2 and TLS: a TLS record starts with 0x16, the HTTP/2 preface
 * with `PRI`. Everything else is cut off at once, and so is a client that says nothing.
 * @throws InsituError LISTEN with the address.
 */
export async function listen(options: ListenerOptions): Promise<Listener> {
  const { tls, logger, limits = defaultLimits } = options
  const handshakeTimeout = limits.handshakeTimeout * 1000
  const handshakes = limitHandshakes(limits.pendingHandshakes)
  /** How to say that TLS is over, of connections whose TLS has begun. */
  const securing = new Map<string, () => void>()

  const serve = (socket: Socket, part: Omit<Connection, 'session'>): void => {
    const session = new Http2Server(socket, {
      streamWindow: clientStreamWindow,
      maxConcurrentStreams: limits.streamsPerConnection,
      maxHeaderListSize: limits.headerSize,
    })
    session.on('close', () => {
      if (!session.reason) return
      logger.debug({ err: session.reason.message, remote: part.remote.address }, 'connection failed')
    })
    const over = handshakes.begins(roomOf(part.remote), () => session.destroy(new Error('others needed its place')))
    const timer = setTimeout(() => session.destroy(new Error('no HTTP/2 settings in time')), handshakeTimeout)
    const settled = (): void => {
      clearTimeout(timer)
      over()
    }
    session.once('settings', settled)
    session.once('close', settled)
    options.onConnection({ session, ...part })
  }

  const secure = tls && createSecureServer(tls, handshakeTimeout)
  secure?.server.on('secureConnection', (socket) => {
    socket.on('error', () => socket.destroy())
    const remote = { address: socket.remoteAddress ?? '', unix: false }
    securing.get(endsOf(socket))?.()
    serve(socket, { secure: true, remote, ...certificateOf(socket) })
  })

  const accept = (socket: Socket, remote: Connection['remote']): void => {
    socket.setNoDelay(true)
    // Nothing else notices a client whose machine vanished without a word: its build would run on for nobody.
    if (!remote.unix) socket.setKeepAlive(true, 30_000)
    socket.on('error', () => socket.destroy())
    if (!handshakes.admits(roomOf(remote))) {
      logger.debug({ remote: remote.address }, 'too many handshakes at once: a client is cut off')
      return void socket.destroy()
    }
    const begins = (): (() => void) => handshakes.begins(roomOf(remote), () => socket.destroy())
    const over = begins()
    const timer = setTimeout(() => socket.destroy(), handshakeTimeout)
    const known = (): void => {
      clearTimeout(timer)
      over()
    }
    socket.once('close', known)
    let seen = Buffer.alloc(0)
    const inspect = (): void => {
      const chunk = socket.read() as Buffer | null
      if (chunk !== null) seen = Buffer.concat([seen, chunk])
      const kind = looksLike(seen)
      if (kind === 'more') return
      socket.off('readable', inspect)
      known()
      socket.unshift(seen)
      if (kind === 'http2') serve(socket, { secure: false, remote, ...nobody })
      else if (kind === 'tls' && secure && !remote.unix) {
        const ends = endsOf(socket)
        const secured = begins()
        securing.set(ends, secured)
        // TLS that fails closes it, also where its time is over.
        socket.once('close', () => {
          secured()
          if (securing.get(ends) === secured) securing.delete(ends)
        })
        secure.server.emit('connection', socket)
      } else socket.destroy()
    }
    socket.on('readable', inspect)
  }

  const servers: { server: Server; address: Address }[] = []
  const close = async (): Promise<void> => {
    secure?.stop()
    await Promise.all(servers.map(({ server }) => closeServer(server)))
  }
  try {
    for (const address of options.addresses) {
      const unix = address.kind === 'unix'
      const server = createServer((socket) => {
        accept(socket, { address: unix ? address.path : (socket.remoteAddress ?? ''), unix })
      })
      servers.push({ server, address: await bind(server, address) })
      // E.g. a kernel without memory for one more connection: the ones that are there go on.
      server.on('error', (error) => logger.warn({ err: error }, 'a connection could not be accepted'))
    }
  } catch (error) {
    await close()
    throw error
  }
  return { addresses: servers.map(({ address }) => address), close }
}

/** Clients of unix sockets have no address: together they count as one. */
const roomOf = ({ address, unix }: Connection['remote']): string => (unix ? 'unix' : address)

/** What a TCP connection and the TLS in it have in common. */
const endsOf = (socket: Socket): string =>
  [socket.remoteAddress, socket.remotePort, socket.localAddress, socket.localPort].join(' ')

/**
 * buildx offers no ALPN, which http2.createSecureServer insists on; a plain TLS server does not. Client certificates
 * are asked for but not required: the one that comes for its first certificate has none.
 */
function createSecureServer(source: TlsSource, handshakeTimeout: number): { server: TlsServer; stop: () => void } {
  const context = ({ cert, key, ca }: TlsMaterial): SecureContextOptions => ({ cert, key, ca, minVersion: 'TLSv1.2' })
  const server = createTlsServer({
    ...context(source.current()),
    requestCert: true,
    rejectUnauthorized: false,
    handshakeTimeout,
    ALPNProtocols: ['h2'],
  })
  server.on('tlsClientError', (_, socket) => socket.destroy())
  return { server, stop: source.onChange((material) => server.setSecureContext(context(material))) }
}

const nobody = { certificate: undefined, certificateEnd: undefined, certificateError: undefined, agent: undefined }

function certificateOf(
  socket: TLSSocket,
): Pick<Connection, 'certificate' | 'certificateEnd' | 'certificateError' | 'agent'> {
  const certificate = socket.getPeerX509Certificate()
  if (!certificate) return nobody
  if (!socket.authorized) return { ...nobody, certificateError: String(socket.authorizationError) }
  const certificateEnd = certificate.validToDate.getTime()
  // A TLS session that is resumed was verified when it began.
  if (certificateEnd <= Date.now()) return { ...nobody, certificateError: 'it has ended' }
  const caller = callerOfCertificate(certificate)
  const certificateError = caller ? refusedCertificate(caller) : 'it names nobody'
  const agent = agentOfCertificate(certificate)
  return { certificate: certificateError === undefined ? caller : undefined, certificateEnd, certificateError, agent }
}

async function bind(server: Server, address: Address): Promise<Address> {
  if (address.kind === 'unix') await removeStale(address.path)
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        new InsituError('LISTEN', `cannot listen on ${formatAddress(address)}`, {
          cause: error,
          fix: 'stop what uses the address, or choose another one with --listen',
        }),
      ),
    )
    if (address.kind === 'unix') server.listen(address.path, resolve)
    else server.listen(address.port, ...(address.host === '' ? [] : [address.host]), resolve)
  })
  if (address.kind === 'unix') {
    await chmod(address.path, 0o660)
    return address
  }
  return { ...address, port: (server.address() as AddressInfo).port }
}

/** A socket file that nobody answers on is what a killed process left behind. */
async function removeStale(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined)
  if (!found?.isSocket()) return
  const alive = await new Promise<boolean>((resolve) => {
    const probe = connect(path)
    probe.once('connect', () => {
      probe.destroy()
      resolve(true)
    })
    probe.once('error', () => resolve(false))
  })
  if (!alive) await rm(path, { force: true })
}

const closeServer = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    server.close(() => resolve())
  })
