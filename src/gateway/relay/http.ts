import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2'
import { readBody } from '../../kernel/grpc/framing.ts'
import type { Logger } from '../../kernel/log.ts'

export interface HttpRequest {
  readonly headers: Readonly<IncomingHttpHeaders>
  readonly body: Buffer
  /** IP address of the client. */
  readonly remoteAddress: string
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

const bodyLimit = 64 << 10

export async function answerHttp(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  handler: HttpHandler | undefined,
  remoteAddress: string,
  logger: Logger,
): Promise<void> {
  const send = ({ status, contentType, body }: HttpResponse): void => {
    if (stream.destroyed || stream.closed) return
    stream.respond({ ':status': status, 'content-type': contentType ?? 'text/plain; charset=utf-8' })
    stream.end(body)
  }
  if (!handler) return send({ status: 404, body: 'not found\n' })
  try {
    send(await handler({ headers, body: await readBody(stream, bodyLimit), remoteAddress }))
  } catch (error) {
    logger.error({ err: error, path: headers[':path'] }, 'a request failed here')
    send({ status: 500, body: 'internal error\n' })
  }
}
