import type { IncomingMessage } from 'node:http'
import { Agent, request, type RequestOptions } from 'node:https'
import type { ConnectionOptions } from 'node:tls'
import { agentServerName } from '../../api/certificate.ts'
import type { Peer } from '../../api/images.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { TlsSource } from '../../kernel/tls/material.ts'

/** Requests to other agents over mutual TLS, on connections that are used again. */
export interface PeerClient {
  /**
   * @returns the answer, whatever its status, with its body still to come.
   * @throws InsituError PEER_FAILED when there is none within the time.
   */
  get(peer: Peer, path: string, headers: Readonly<Record<string, string>>): Promise<IncomingMessage>
  close(): void
}

export interface PeerClientOptions {
  readonly tls: () => Promise<TlsSource>
  /** Milliseconds until the answer begins. Default 5,000. */
  readonly timeout?: number
  /** Milliseconds without a byte after which a body counts as broken. Default 10,000. */
  readonly idle?: number
}

export function peerClient({ tls, timeout = 5000, idle = 10_000 }: PeerClientOptions): PeerClient {
  const agent = new Agent({ keepAlive: true, maxFreeSockets: 4, timeout: 60_000 })
  return {
    async get(peer, path, headers) {
      const { cert, key, ca } = (await tls()).current()
      return new Promise((resolve, reject) => {
        const fail = (message: string, cause?: unknown): void =>
          reject(
            new InsituError('PEER_FAILED', `the agent of ${peer.node}: ${message}`, { status: 'UNAVAILABLE', cause }),
          )
        const options: RequestOptions & ConnectionOptions = {
          ...{ host: peer.host, port: peer.port, path, headers, agent, cert, key, ca, minVersion: 'TLSv1.3' },
          servername: agentServerName(peer.node),
          ALPNProtocols: ['http/1.1'],
        }
        const outgoing = request(options)
        const timer = setTimeout(() => outgoing.destroy(new Error('no answer in time')), timeout)
        outgoing.on('error', (error) => {
          clearTimeout(timer)
          fail(error.message, error)
        })
        outgoing.on('response', (incoming) => {
          clearTimeout(timer)
          incoming.setTimeout(idle, () => incoming.destroy(new Error('no byte for too long')))
          resolve(incoming)
        })
        outgoing.end()
      })
    },
    close: () => agent.destroy(),
  }
}
