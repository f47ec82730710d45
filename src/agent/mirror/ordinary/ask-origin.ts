import { type Agent, request as plain } from 'node:http'
import { request as secure } from 'node:https'
import type { ProxyVariables } from '../../../buildkit/proxy.ts'
import { type HttpAnswer, readAnswer } from '../../../kernel/http/answer.ts'
import type { OriginHost } from './origin-hosts.ts'
import { proxyFor } from '../../../kernel/http/proxy-for.ts'
import { agentThrough } from '../../../kernel/http/send.ts'

export interface OriginRequest {
  readonly method: 'HEAD' | 'GET'
  readonly headers: Readonly<Record<string, string>>
  readonly signal: AbortSignal
}

/** Requests to registries and their token servers, on connections that are used again. */
export interface OriginClient {
  /** Follows no redirect. Rejects with the network's error. */
  ask(url: URL, host: Pick<OriginHost, 'ca' | 'insecure'>, request: OriginRequest): Promise<HttpAnswer>
  close(): void
}

/**
 * @param proxies containerd's variables.
 * @param authorities PEM of those that the node trusts.
 */
export function originClient(proxies: ProxyVariables, authorities: string | undefined): OriginClient {
  const agents = new Map<string, Agent>()
  const agentOf = (url: URL): Agent => {
    const proxy = proxyFor(url, proxies)
    const key = `${url.protocol} ${proxy ?? ''}`
    const known = agents.get(key)
    if (known) return known
    const made = agentThrough(url, proxy, { keepAlive: true, maxFreeSockets: 2, timeout: 30_000 })
    agents.set(key, made)
    return made
  }
  return {
    ask: (url, { ca, insecure }, { method, headers, signal }) =>
      new Promise((resolve, reject) => {
        const common = { method, headers, signal, agent: agentOf(url) }
        const trusted = [authorities, ca].filter((pem) => pem !== undefined)
        const tls = { rejectUnauthorized: !insecure, ...(trusted.length === 0 ? {} : { ca: trusted }) }
        const outgoing = url.protocol === 'https:' ? secure(url, { ...common, ...tls }) : plain(url, common)
        outgoing.once('error', reject)
        outgoing.once('response', (response) => resolve(readAnswer(response)))
        outgoing.end()
      }),
    close() {
      for (const agent of agents.values()) agent.destroy()
    },
  }
}
