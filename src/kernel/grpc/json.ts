import { connect as connectHttp2, constants } from 'node:http2'
import { isIP } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { InsituError } from '../errors.ts'

export interface JsonPost {
  readonly host: string
  readonly port: number
  /** A unix socket that leads there, instead of host and port. */
  readonly socketPath?: string | undefined
  /** The name that the server's certificate must carry. */
  readonly serverName: string
  /** PEM. Nothing else is trusted. */
  readonly ca: string
  readonly path: string
  /** Sent as a bearer token. */
  readonly token: string
  readonly body: unknown
  /** Milliseconds for all of it. */
  readonly timeout: number
  readonly signal?: AbortSignal
}

export interface JsonAnswer {
  /** HTTP status. */
  readonly status: number
  /** undefined when the answer is not JSON. */
  readonly body: unknown
}

/** More than any answer of ours: a stranger on the other side cannot fill the memory. */
const maxAnswer = 1 << 20

/**
 * One POST over TLS and HTTP/2 on a connection of its own: the gateway's port speaks nothing else.
 * @throws InsituError HTTP_FAILED when there is no answer.
 */
export async function postJson(post: JsonPost): Promise<JsonAnswer> {
  const where = `${post.host}:${post.port}${post.path}`
  const fail = (message: string, cause?: unknown): InsituError =>
    new InsituError('HTTP_FAILED', `POST ${where}: ${message}`, { status: 'UNAVAILABLE', cause })
  const limit = AbortSignal.timeout(post.timeout)
  const signal = post.signal ? AbortSignal.any([post.signal, limit]) : limit
  const socket = connectTls({
    ...(post.socketPath === undefined ? { host: post.host, port: post.port } : { path: post.socketPath }),
    ca: post.ca,
    // A name in the handshake must not be an address (RFC 6066 section 3).
    ...(isIP(post.serverName) === 0 ? { servername: post.serverName } : {}),
    ALPNProtocols: ['h2'],
    minVersion: 'TLSv1.3',
  })
  const session = connectHttp2(`https://${post.serverName}`, { createConnection: () => socket })
  let abort: () => void = () => {}
  try {
    return await new Promise<JsonAnswer>((resolve, reject) => {
      abort = () => reject(fail(limit.aborted ? 'no answer in time' : 'aborted', signal.reason))
      if (signal.aborted) return abort()
      signal.addEventListener('abort', abort, { once: true })
      socket.on('error', (error) => reject(fail(error.message, error)))
      session.on('error', (error) => reject(fail(error.message, error)))
      session.on('close', () => reject(fail('the connection was closed')))
      const stream = session.request({
        [constants.HTTP2_HEADER_METHOD]: 'POST',
        [constants.HTTP2_HEADER_PATH]: post.path,
        'content-type': 'application/json',
        authorization: `Bearer ${post.token}`,
      })
      const chunks: Buffer[] = []
      let size = 0
      let status = 0
      stream.on('response', (headers) => (status = Number(headers[':status'])))
      stream.on('data', (chunk: Buffer) => {
        size += chunk.length
        if (size > maxAnswer) reject(fail('the answer is too long'))
        else chunks.push(chunk)
      })
      stream.on('error', (error) => reject(fail(error.message, error)))
      stream.on('end', () => resolve({ status, body: parse(Buffer.concat(chunks).toString('utf8')) }))
      stream.end(JSON.stringify(post.body))
    })
  } finally {
    signal.removeEventListener('abort', abort)
    session.destroy()
    socket.destroy()
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
