import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest, type RequestOptions } from 'node:https'
import { setTimeout as startTimer, clearTimeout } from 'node:timers'
import type { Endpoint } from './endpoint.ts'
import { KubernetesError, refusal, unreachable, type Attempt } from './failure.ts'
import { ListItems } from './list-items.ts'
import type { Status } from './objects.ts'
import { raceAbort } from './race-abort.ts'

export interface HttpCall {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** Path with query, as in `/api/v1/pods?limit=500`. */
  readonly path: string
  readonly body?: unknown
  readonly contentType?: string | undefined
  /** Default `application/json`. */
  readonly accept?: string
  readonly signal?: AbortSignal | undefined
  /** Milliseconds from the credentials until the answer's headers must be here (for `json`: until all of it is). */
  readonly timeout: number
  readonly attempt: Attempt
  /** Gets the items of a list one by one while they arrive; the answer then has none. */
  readonly onItem?: ((item: unknown) => void) | undefined
}

/** Speaks HTTP with one API server and knows nothing of objects. */
export interface Transport {
  /** @returns the parsed body. @throws KubernetesError */
  json(call: HttpCall): Promise<unknown>
  /** A response whose body is read as it comes, on a connection of its own. @throws KubernetesError */
  stream(call: HttpCall): Promise<IncomingMessage>
  close(): void
}

/** A call whose credentials are there. */
interface Started {
  readonly login: RequestOptions
  readonly signal: AbortSignal
  /** Ends the timeout. */
  readonly headersIn: () => void
}

export function createTransport(endpoint: Endpoint, userAgent: string): Transport {
  const secure = endpoint.server.startsWith('https:')
  const agent = secure ? new HttpsAgent({ keepAlive: true, maxSockets: 32 }) : new HttpAgent({ keepAlive: true })
  const base = new URL(endpoint.server)
  const prefix = base.pathname === '/' ? '' : base.pathname

  /** @param own whether it gets a connection of its own. */
  async function send(call: HttpCall, own: boolean, { login, signal }: Started): Promise<IncomingMessage> {
    const { headers, ...credentials } = login
    const body = call.body === undefined ? undefined : JSON.stringify(call.body)
    const options: RequestOptions = {
      // Streams get a connection of their own, which dies with them. A proxy's agent in the credentials wins.
      agent: own ? false : agent,
      ...credentials,
      host: base.hostname.replace(/^\[|\]$/g, ''),
      port: base.port || (secure ? 443 : 80),
      path: prefix + call.path,
      method: call.method,
      signal,
      headers: {
        ...(headers as Record<string, string> | undefined),
        accept: call.accept ?? 'application/json',
        'user-agent': userAgent,
        ...(body === undefined
          ? {}
          : {
              'content-type': call.contentType ?? 'application/json',
              'content-length': Buffer.byteLength(body),
            }),
      },
    }
    const answer = new Promise<IncomingMessage>((resolve, reject) => {
      const request = (secure ? httpsRequest : httpRequest)(options)
      // Kernel probes find a dead peer within half a minute, also below long silent watches.
      request.on('socket', (socket) => socket.setKeepAlive(true, 15_000))
      request.on('response', resolve)
      request.on('error', reject)
      request.end(body)
    })
    // A request that waits for a proxy's tunnel ends only with that.
    return raceAbort(answer, signal)
  }

  async function guarded<T>(call: HttpCall, work: (started: Started) => Promise<T>): Promise<T> {
    const timeout = new AbortController()
    let timer: ReturnType<typeof startTimer> | undefined
    const signal = call.signal ? AbortSignal.any([call.signal, timeout.signal]) : timeout.signal
    try {
      call.signal?.throwIfAborted()
      // Somebody may have to log in for it: that is not the time of the API server.
      const login = await raceAbort(endpoint.credentials(), call.signal)
      timer = startTimer(() => {
        timeout.abort(new Error(`no answer within ${call.timeout / 1000} s`))
      }, call.timeout)
      return await work({ login, signal, headersIn: () => clearTimeout(timer) })
    } catch (error) {
      if (error instanceof KubernetesError) throw error
      if (call.signal?.aborted) throw call.signal.reason
      if (error instanceof Error && 'fix' in error) throw error
      throw unreachable(call.attempt, timeout.signal.aborted ? timeout.signal.reason : error)
    } finally {
      clearTimeout(timer)
    }
  }

  return {
    json: (call) =>
      guarded(call, async (started) => {
        const response = await send(call, false, started)
        const status = response.statusCode ?? 0
        const good = status >= 200 && status <= 299
        const text = good && call.onItem ? await readItems(response, call.onItem) : await readAll(response)
        if (!good) throw refusal(call.attempt, status, parseStatus(text))
        return text === '' ? undefined : (JSON.parse(text) as unknown)
      }),
    stream: (call) =>
      guarded(call, async (started) => {
        const response = await send(call, true, started)
        const status = response.statusCode ?? 0
        if (status !== 200) throw refusal(call.attempt, status, parseStatus(await readAll(response)))
        started.headersIn()
        return response
      }),
    close: () => agent.destroy(),
  }
}

async function readAll(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}

async function readItems(response: IncomingMessage, onItem: (item: unknown) => void): Promise<string> {
  const items = new ListItems(onItem)
  for await (const chunk of response) items.read(chunk as Buffer)
  return items.end()
}

/** Proxies and old servers answer with plain text or HTML: its start is better than nothing. */
function parseStatus(text: string): Status | undefined {
  try {
    const status = JSON.parse(text) as Status
    return typeof status === 'object' ? status : undefined
  } catch {
    return text.trim() === '' ? undefined : { message: text.trim().slice(0, 200) }
  }
}
