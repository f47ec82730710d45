import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2'
import { InsituError } from '../../kernel/errors.ts'
import { readBody } from '../../kernel/grpc/framing.ts'
import type { Logger } from '../../kernel/log.ts'
import type { AgentIdentity } from '../listener/certificate.ts'
import { stopReading } from './end-call.ts'

export interface HttpRequest {
  readonly headers: Readonly<IncomingHttpHeaders>
  readonly body: Buffer
  readonly query: URLSearchParams
  /** IP address of the client. */
  readonly remoteAddress: string
  /** The agent that asks, by its certificate. */
  readonly agent: AgentIdentity | undefined
  /** Aborts when the client gives up. */
  readonly signal: AbortSignal
}

export interface HttpResponse {
  readonly status: number
  readonly contentType?: string
  readonly body: string
}

/** Answers a plain request of our own API. What it throws becomes a 500 without details. */
export type HttpHandler = (request: HttpRequest) => Promise<HttpResponse>

/** By method and path: `POST /v1/certificate`. */
export type HttpHandlers = Readonly<Record<string, HttpHandler>>

/** The handler of a request, whatever its query is. */
export const handlerOf = (handlers: HttpHandlers, headers: IncomingHttpHeaders): HttpHandler | undefined =>
  handlers[`${headers[':method']} ${(headers[':path'] ?? '').replace(/\?.*$/, '')}`]

const bodyLimit = 64 << 10

/** Answers a request that is not gRPC. Never rejects: a rejection that nobody handles would end the process. */
export async function answerHttp(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  handler: HttpHandler | undefined,
  from: Pick<HttpRequest, 'remoteAddress' | 'agent' | 'signal'>,
  logger: Logger,
): Promise<void> {
  const send = ({ status, contentType, body }: HttpResponse): void => {
    if (stream.destroyed || stream.closed) return
    stream.respond({ ':status': status, 'content-type': contentType ?? 'text/plain; charset=utf-8' })
    stream.end(body)
    // A client that goes on sending what nobody reads keeps no call open.
    stopReading(stream)
  }
  try {
    if (!handler) return send({ status: 404, body: 'not found\n' })
    const query = new URLSearchParams((headers[':path'] ?? '').replace(/^[^?]*\??/, ''))
    send(await handler({ ...from, headers, query, body: await readBody(stream, bodyLimit) }))
  } catch (error) {
    if (error instanceof InsituError && error.status === 'CANCELLED') return
    if (error instanceof InsituError && error.status === 'RESOURCE_EXHAUSTED') {
      return attempt(() => send({ status: 413, body: 'too large\n' }))
    }
    logger.error({ err: error, path: headers[':path'] }, 'a request failed here')
    attempt(() => send({ status: 500, body: 'internal error\n' }))
  }
}

/** The answer may have begun, or be impossible to give: then the client's own time-out tells it. */
function attempt(send: () => void): void {
  try {
    send()
  } catch {
    // Logged before, if it was our fault.
  }
}
