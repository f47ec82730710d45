import { type ClientHttp2Session, connect as connectHttp2, constants } from 'node:http2'
import { connect as connectTls } from 'node:tls'
import { InsituError } from '../errors.ts'
import type { TlsMaterial } from '../tls/material.ts'

export interface JsonSessionOptions {
  readonly host: string
  readonly port: number
  /** The name that the server's certificate must carry. */
  readonly serverName: string
  readonly tls: TlsMaterial
  /** Milliseconds until the handshake must be over. Default 10,000. */
  readonly patience?: number
}

/** A warm HTTP/2 connection over mutual TLS for many small questions. */
export interface JsonSession {
  /** False once it cannot be used any more. */
  readonly open: boolean
  /** Settles when the handshake is over. @throws InsituError HTTP_FAILED */
  readonly connected: Promise<void>
  /** @returns the parsed answer of a 200. @throws InsituError HTTP_FAILED */
  get(path: string, signal: AbortSignal): Promise<unknown>
  close(): void
}

const maxAnswer = 1 << 20

/** Connects at once. */
export function jsonSession({ host, port, serverName, tls, patience = 10_000 }: JsonSessionOptions): JsonSession {
  const fail = (message: string, cause?: unknown): InsituError =>
    new InsituError('HTTP_FAILED', `${host}:${port}: ${message}`, { status: 'UNAVAILABLE', cause })
  const { cert, key, ca } = tls
  const socket = connectTls({
    ...{ host, port, cert, key, ca, servername: serverName, ALPNProtocols: ['h2'], minVersion: 'TLSv1.3' },
  })
  socket.setNoDelay(true)
  socket.setKeepAlive(true, 15_000)
  const session: ClientHttp2Session = connectHttp2(`https://${serverName}`, { createConnection: () => socket })
  const connected = new Promise<void>((resolve, reject) => {
    session.once('remoteSettings', () => resolve())
    session.once('error', (error) => reject(fail(error.message, error)))
    session.once('close', () => reject(fail('the connection was closed')))
  })
  /** A session does not end a socket that is still connecting: to a host that is gone it would go on for two minutes. */
  const close = (): void => {
    session.destroy()
    socket.destroy()
  }
  const late = setTimeout(close, patience).unref()
  connected.then(
    () => clearTimeout(late),
    () => clearTimeout(late),
  )
  socket.on('error', () => undefined)
  session.on('error', () => undefined)
  // An idle connection keeps no process alive.
  session.unref()
  return {
    get open() {
      return !session.closed && !session.destroyed
    },
    connected,
    get: (path, signal) =>
      new Promise((resolve, reject) => {
        if (signal.aborted || session.closed || session.destroyed) return reject(fail('not connected'))
        const stream = session.request({ [constants.HTTP2_HEADER_PATH]: path })
        const abort = (): void => {
          reject(fail('no answer in time', signal.reason))
          stream.close(constants.NGHTTP2_CANCEL)
        }
        signal.addEventListener('abort', abort, { once: true })
        const chunks: Buffer[] = []
        let size = 0
        let status = 0
        stream.on('response', (headers) => (status = Number(headers[':status'])))
        stream.on('data', (chunk: Buffer) => {
          size += chunk.length
          if (size > maxAnswer) stream.close(constants.NGHTTP2_CANCEL)
          else chunks.push(chunk)
        })
        stream.on('error', (error) => reject(fail(error.message, error)))
        stream.on('close', () => {
          signal.removeEventListener('abort', abort)
          reject(fail('the answer was cut off'))
        })
        stream.on('end', () => {
          if (status !== 200) return reject(fail(`HTTP ${status}`))
          try {
            resolve(JSON.parse(Buffer.concat(chunks).toString('utf8')))
          } catch (error) {
            reject(fail('the answer is not JSON', error))
          }
        })
      }),
    close,
  }
}
