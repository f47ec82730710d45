import type { IncomingMessage, ServerResponse } from 'node:http'
import { describeError, type GrpcStatus, InsituError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'

/** Who a client of the agent's port is, by its certificate. */
export type Identity = 'gateway' | 'agent'

/** One request of the agent's API. */
export interface Handler {
  readonly methods: readonly ('GET' | 'HEAD' | 'POST')[]
  /** An exact path, or with a `/` at its end all paths below it. */
  readonly path: string
  /** Others get 403. */
  readonly allow: readonly Identity[]
  /** @throws InsituError: the status of its gRPC counterpart; the sentence is the body. */
  handle(request: IncomingMessage, response: ServerResponse, context: HandlerContext): Promise<void> | void
}

export interface HandlerContext {
  readonly identity: Identity
  readonly url: URL
}

export interface DispatchOptions {
  readonly identity: Identity
  /** The table as it is now: exact paths win over prefixes, longer prefixes over shorter ones. */
  readonly handlers: readonly Handler[]
  readonly log: Logger
}

/** Answers a request from the table. Errors of a handler are answered or, once it has begun to answer, cut it off. */
export async function dispatch(
  request: IncomingMessage,
  response: ServerResponse,
  options: DispatchOptions,
): Promise<void> {
  const url = URL.parse(request.url ?? '/', 'http://agent')
  if (!url) return void response.writeHead(400).end()
  const [best] = options.handlers
    .filter(({ path }) => path === url.pathname || (path.endsWith('/') && url.pathname.startsWith(path)))
    .toSorted((a, b) => b.path.length - a.path.length)
  const here = best ? options.handlers.filter(({ path }) => path === best.path) : []
  const handler = here.find(({ methods }) => (methods as readonly string[]).includes(request.method ?? ''))
  try {
    if (here.length === 0) return void response.writeHead(404).end()
    if (!handler) {
      return void response.writeHead(405, { allow: here.flatMap(({ methods }) => methods).join(', ') }).end()
    }
    if (!handler.allow.includes(options.identity)) return void response.writeHead(403).end()
    await handler.handle(request, response, { identity: options.identity, url })
  } catch (error) {
    options.log.warn({ err: describeError(error), path: url.pathname }, 'a request to the agent failed')
    if (response.headersSent) response.destroy()
    else sendJson(response, httpStatus(error), { error: describeError(error) })
  }
}

const statuses: Partial<Record<GrpcStatus, number>> = {
  INVALID_ARGUMENT: 400,
  PERMISSION_DENIED: 403,
  NOT_FOUND: 404,
  FAILED_PRECONDITION: 409,
  ABORTED: 409,
  RESOURCE_EXHAUSTED: 413,
  UNAVAILABLE: 503,
}

const httpStatus = (error: unknown): number => (error instanceof InsituError ? (statuses[error.status] ?? 500) : 500)

export function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
  response.end(JSON.stringify(body))
}

/**
 * Reads a JSON body. @param limit most bytes that are kept in memory; default 4 MiB.
 * @throws InsituError BODY with INVALID_ARGUMENT or RESOURCE_EXHAUSTED.
 */
export async function readJson(request: IncomingMessage, limit = 4 << 20): Promise<unknown> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > limit) throw new InsituError('BODY', 'the request is too large', { status: 'RESOURCE_EXHAUSTED' })
    chunks.push(chunk)
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'))
  } catch (cause) {
    throw new InsituError('BODY', 'the request is not JSON', { status: 'INVALID_ARGUMENT', cause })
  }
}
