import { once } from 'node:events'
import type { Http2Stream } from '../http2/stream.ts'
import { InsituError } from '../../kernel/errors.ts'
import { readBody } from '../../kernel/grpc/framing.ts'
import type { Logger } from '../../kernel/log.ts'
import type { AgentIdentity } from '../listener/certificate.ts'

export interface HttpRequest {
  readonly headers: Readonly<Record<string, string | undefined>>
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
export const handlerOf = (handlers: HttpHandlers, headers: HttpRequest['headers']): HttpHandler | undefined =>
  handlers[`${headers[':method']} ${(headers[':path'] ?? '').replace(/\?.*$/, '')}`]

/** Milliseconds for the body of a request that nobody wants. */
const unasked = 200

const bodyLimit = 64 << 10

/** Answers a request that is not gRPC. Never rejects: a rejection that nobody handles would end the process. */
export async function answerHttp(
  stream: Http2Stream,
  headers: HttpRequest['headers'],
  handler: HttpHandler | undefined,
  from: Pick<HttpRequest, 'remoteAddress' | 'agent' | 'signal'>,
  logger: Logger,
): Promise<void> {
  const send = ({ status, contentType, body }: HttpResponse): void => {
    stream.respond([':status', String(status), 'content-type', contentType ?? 'text/plain; charset=utf-8'])
    stream.end(Buffer.from(body))
  }
  try {
    if (!handler) {
      await requestEnd(stream, from.signal)
      return send({ status: 404, body: 'not found\n' })
    }
    const query = new URLSearchParams((headers[':path'] ?? '').replace(/^[^?]*\??/, ''))
    send(await handler({ ...from, headers, query, body: await readBody(stream, bodyLimit) }))
  } catch (error) {
    if (error instanceof InsituError && error.status === 'CANCELLED') return
    if (error instanceof InsituError && error.status === 'RESOURCE_EXHAUSTED') {
      return send({ status: 413, body: 'too large\n' })
    }
    logger.error({ err: error, path: headers[':path'] }, 'a request failed here')
    send({ status: 500, body: 'internal error\n' })
  }
}

/** A request of no meaning is read to its end, as long as that does not take long, before it is answered. */
async function requestEnd(stream: Http2Stream, signal: AbortSignal): Promise<void> {
  const over = AbortSignal.any([signal, AbortSignal.timeout(unasked)])
  const ended = once(stream, 'end', { signal: over }).catch(() => undefined)
  stream.resume()
  await ended
}
