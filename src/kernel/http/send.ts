import { Agent as PlainAgent, type AgentOptions, type IncomingMessage, request as plain } from 'node:http'
import { Agent as SecureAgent, request as secure } from 'node:https'
import type { Env } from '../config/env.ts'
import { proxyFor } from './proxy-for.ts'

export interface HttpRequest {
  readonly method: 'PUT' | 'GET' | 'HEAD'
  readonly headers: Readonly<Record<string, string>>
  readonly body?: Uint8Array | undefined
  /** The server's certificate is not looked at. */
  readonly insecure?: boolean
  /** HTTP_PROXY, HTTPS_PROXY and NO_PROXY, in either case. */
  readonly proxies: Env
  readonly signal: AbortSignal
  /** Milliseconds without a byte. Default a minute. */
  readonly timeout?: number
}

/**
 * One request, through the proxy that the variables name for its URL. Follows no redirect.
 * @returns the answer, whose body is still to be read. Rejects with the network's error, or with the signal's reason.
 */
export function send(url: URL, request: HttpRequest): Promise<IncomingMessage> {
  const { method, headers, body, insecure = false, proxies, signal, timeout = 60_000 } = request
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  // A request that waits for a proxy's tunnel ends only with that.
  const giveUp = (): void => reject(signal.reason as Error)
  signal.addEventListener('abort', giveUp, { once: true })
  try {
    signal.throwIfAborted()
    const proxy = proxyFor(url, proxies)
    const agent = proxy === undefined ? {} : { agent: agentThrough(url, proxy) }
    const common = { method, headers, signal, timeout, ...agent }
    const outgoing =
      url.protocol === 'https:' ? secure(url, { ...common, rejectUnauthorized: !insecure }) : plain(url, common)
    outgoing.once('timeout', () => outgoing.destroy(new Error('no answer in time')))
    outgoing.on('error', reject)
    outgoing.once('response', resolve)
    outgoing.end(body)
  } catch (error) {
    reject(error)
  }
  return promise.finally(() => signal.removeEventListener('abort', giveUp))
}

/**
 * Connections to servers of a URL's kind, by a proxy if one is given. Node's own agents know no ranges in NO_PROXY, so that is
 * `proxyFor`'s to decide. They know no SOCKS, and then use no proxy.
 * @throws Error for what is no URL. Node would quote it, and with it a password, also where it is one with a line break inside.
 */
export function agentThrough(
  { protocol }: URL,
  proxy: string | undefined,
  options: AgentOptions = {},
): PlainAgent | SecureAgent {
  const href = proxy === undefined ? undefined : URL.parse(proxy)?.href
  if (proxy !== undefined && href === undefined) throw new Error('the address of the proxy is not a URL')
  const proxyEnv = href === undefined ? {} : { HTTP_PROXY: href, HTTPS_PROXY: href }
  return protocol === 'https:' ? new SecureAgent({ ...options, proxyEnv }) : new PlainAgent({ ...options, proxyEnv })
}
