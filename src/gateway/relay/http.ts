import { once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import { errorCodes } from '../http2/errors.ts'
import type { Http2Stream } from '../http2/stream.ts'
import { InsituError } from '../../kernel/errors.ts'
import { readBody } from '../../kernel/grpc/framing.ts'
import type { Logger } from '../../kernel/log.ts'
import type { AgentIdentity } from '../listener/certificate.ts'
import { createBodyPlaces } from './body-places.ts'

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
const handlerOf = (handlers: HttpHandlers, headers: HttpRequest['headers']): HttpHandler | undefined =>
  handlers[`${headers[':method']} ${(headers[':path'] ?? '').replace(/\?.*$/, '')}`]

/** Milliseconds for the body of a request that nobody wants. */
const unasked = 200

const bodyLimit = 64 << 10

/** Milliseconds that a body may take. */
const bodyTime = 10_000

export interface HttpAnswers {
  /** Answers a request that is not gRPC. Never rejects: a rejection that nobody handles would end the process. */
  answer(stream: Http2Stream, headers: HttpRequest['headers'], from: HttpSource): Promise<void>
}

export interface HttpSource extends Pick<HttpRequest, 'remoteAddress' | 'agent' | 'signal'> {
  /** Over TLS. What comes without it finds nothing here. */
  readonly secure: boolean
  /** The same object for all requests of a connection. */
  readonly connection: object
}

export function createHttpAnswers(handlers: HttpHandlers, logger: Logger): HttpAnswers {
  const places = createBodyPlaces()
  /** @returns undefined when too many are read already. */
  const bodyOf = async (
    stream: Http2Stream,
    { agent, connection, remoteAddress }: Pick<HttpSource, 'agent' | 'connection' | 'remoteAddress'>,
  ): Promise<Buffer | undefined> => {
    // A call is told with its headers: a short body that came with them is read after that.
    if (!agent) await turn()
    // Agents are known, and what is here as a whole keeps no more: strangers should not have them put off.
    const counted = !agent && !stream.remoteEnded
    const release = counted ? places.take(connection, remoteAddress) : () => undefined
    if (!release) return undefined
    const timer = setTimeout(() => stream.close(errorCodes.CANCEL), bodyTime)
    try {
      return await readBody(stream, bodyLimit)
    } finally {
      release()
      clearTimeout(timer)
    }
  }
  return {
    async answer(stream, headers, { secure, connection, ...from }) {
      const send = ({ status, contentType, body }: HttpResponse): void => {
        stream.respond([':status', String(status), 'content-type', contentType ?? 'text/plain; charset=utf-8'])
        stream.end(Buffer.from(body))
      }
      try {
        const handler = secure ? handlerOf(handlers, headers) : undefined
        if (!handler) {
          await requestEnd(stream, from.signal)
          return send({ status: 404, body: 'not found\n' })
        }
        const body = await bodyOf(stream, { connection, ...from })
        if (!body) return send({ status: 503, body: 'too many ask at the moment; try again\n' })
        const query = new URLSearchParams((headers[':path'] ?? '').replace(/^[^?]*\??/, ''))
        send(await handler({ ...from, headers, query, body }))
      } catch (error) {
        if (error instanceof InsituError && error.status === 'CANCELLED') return
        if (error instanceof InsituError && error.status === 'RESOURCE_EXHAUSTED') {
          return send({ status: 413, body: 'too large\n' })
        }
        logger.error({ err: error, path: headers[':path'] }, 'a request failed here')
        send({ status: 500, body: 'internal error\n' })
      }
    },
  }
}

/** A request of no meaning is read to its end, as long as that does not take long, before it is answered. */
async function requestEnd(stream: Http2Stream, signal: AbortSignal): Promise<void> {
  const over = AbortSignal.any([signal, AbortSignal.timeout(unasked)])
  const ended = once(stream, 'end', { signal: over }).catch(() => undefined)
  stream.resume()
  await ended
}
