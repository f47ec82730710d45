import { InsituError } from '../../kernel/errors.ts'
import { decodeMessage, statusName } from '../../kernel/grpc/status.ts'
import { errorCodes } from '../http2/errors.ts'
import type { RawHeaders } from '../http2/raw-headers.ts'
import { downstreamHeaders, header } from '../relay/headers.ts'
import type { Upstream } from '../relay/upstream.ts'

/** A daemon ended a client's call with an error; the client gets its trailers as they are. */
export class DaemonRefusal extends InsituError {
  /** `grpc-status`, `grpc-message` and details, as the daemon sent them. */
  readonly trailers: RawHeaders

  constructor(node: string, code: number, text: string, trailers: RawHeaders) {
    super('DAEMON_CALL', `node ${node}: ${text}`, { status: statusName(code) ?? 'UNKNOWN' })
    this.trailers = trailers
  }
}

/** Milliseconds: the calls of a dying connection end a moment before the connection does. */
const closingMoment = 20

/**
 * Makes a client's unary call at a daemon.
 * @param body framed.
 * @returns the framed answer.
 * @throws DaemonRefusal, NODE_LOST, NO_STATUS; the signal's reason.
 */
export function exchange(upstream: Upstream, raw: RawHeaders, body: Uint8Array, signal: AbortSignal): Promise<Buffer> {
  signal.throwIfAborted()
  const stream = upstream.request(raw)
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let said: RawHeaders | undefined
    const note = (headers: RawHeaders): void => {
      if (header(headers, 'grpc-status') !== undefined) said = trailersOf(headers)
    }
    const abort = (): void => {
      stream.close(errorCodes.CANCEL)
      reject(signal.reason)
    }
    signal.addEventListener('abort', abort, { once: true })
    const settle = (): void => {
      signal.removeEventListener('abort', abort)
      if (!said) return void upstream.whyLost().then((lost) => reject(lost ?? silent(upstream.node)), reject)
      const code = Number(header(said, 'grpc-status'))
      if (code === 0) return resolve(Buffer.concat(chunks))
      const text = decodeMessage(header(said, 'grpc-message') ?? '')
      reject(new DaemonRefusal(upstream.node, code, text, said))
    }
    stream.on('response', note)
    stream.on('trailers', note)
    stream.on('data', (chunk) => chunks.push(chunk))
    stream.on('close', () => (said ? settle() : setTimeout(settle, closingMoment)))
    stream.end(body)
  })
}

const trailersOf = (headers: RawHeaders): RawHeaders =>
  downstreamHeaders(headers).filter((_, i, all) => {
    const name = all[i - (i % 2)] ?? ''
    return !name.startsWith(':') && name !== 'content-type'
  })

const silent = (node: string): InsituError =>
  new InsituError('NO_STATUS', `node ${node}: the build daemon ended a call without saying how it went`, {
    status: 'UNAVAILABLE',
    fix: 'run the build again',
  })
