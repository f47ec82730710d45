import { request } from 'node:https'
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls'
import { agentPaths } from '../../api/agent-api.ts'
import { agentServerName } from '../../api/certificate.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { TlsSource } from '../../kernel/tls/material.ts'

export interface AgentAddress {
  readonly node: string
  readonly host: string
  readonly port: number
}

const connectTimeout = 5000

/** Bytes of proxy variables: a node that somebody took over cannot fill our memory. */
const mostVariables = 1 << 20

/** TLS options that show our certificate and accept only the agent of this node, whatever answers at the address. */
function secure(agent: AgentAddress, tls: TlsSource, protocol: string): ConnectionOptions {
  const { cert, key, ca } = tls.current()
  const { host, port, node } = agent
  return {
    ...{ host, port, cert, key, ca },
    servername: agentServerName(node),
    ALPNProtocols: [protocol],
    minVersion: 'TLSv1.3',
  }
}

/**
 * Opens a byte stream to the buildkitd behind an agent.
 * @throws InsituError AGENT_UNREACHABLE (UNAVAILABLE) with node and reason, or the signal's reason.
 */
export function dialAgent(agent: AgentAddress, tls: TlsSource, signal?: AbortSignal): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error)
    const socket = connect(secure(agent, tls, 'h2'))
    const finish = (error?: Error): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      socket.off('error', onError)
      socket.off('close', onClose)
      if (!error) return resolve(socket)
      // An error that comes while it is torn down has nobody left to tell.
      socket.on('error', () => {})
      socket.destroy()
      reject(error)
    }
    const onError = (error: Error): void => finish(unreachable(agent, error.message, error))
    const onClose = (): void => finish(unreachable(agent, 'it closed the connection'))
    const onAbort = (): void => finish(signal?.reason as Error)
    const timer = setTimeout(
      () => finish(unreachable(agent, `no answer within ${connectTimeout / 1000} s`)),
      connectTimeout,
    )
    signal?.addEventListener('abort', onAbort, { once: true })
    socket.on('error', onError)
    socket.on('close', onClose)
    socket.once('secureConnect', () => {
      if (socket.alpnProtocol !== 'h2') return finish(unreachable(agent, 'it does not speak HTTP/2'))
      socket.setNoDelay(true)
      socket.setKeepAlive(true, 15_000)
      finish()
    })
  })
}

/**
 * Asks an agent for its proxy variables.
 * @throws InsituError AGENT_UNREACHABLE (UNAVAILABLE)
 */
export function fetchProxy(agent: AgentAddress, tls: TlsSource): Promise<Readonly<Record<string, string>>> {
  return new Promise((resolve, reject) => {
    const fail = (reason: string, cause?: unknown): void => reject(unreachable(agent, reason, cause))
    const call = request(
      {
        ...secure(agent, tls, 'http/1.1'),
        path: agentPaths.proxy,
        agent: false,
        signal: AbortSignal.timeout(connectTimeout),
      },
      (response) => {
        const chunks: Buffer[] = []
        let size = 0
        response.on('data', (chunk: Buffer) => {
          size += chunk.length
          if (size > mostVariables) call.destroy(new Error('the answer is too long'))
          else chunks.push(chunk)
        })
        response.on('error', (error) => fail(error.message, error))
        response.on('end', () => {
          const variables = parseVariables(Buffer.concat(chunks).toString('utf8'))
          if (response.statusCode === 200 && variables) resolve(variables)
          else fail(`HTTP ${response.statusCode} for ${agentPaths.proxy}`)
        })
      },
    )
    call.on('error', (error) => fail(error.name === 'TimeoutError' ? 'no answer' : error.message, error))
    call.end()
  })
}

function parseVariables(text: string): Record<string, string> | undefined {
  try {
    const value = JSON.parse(text) as unknown
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
    return Object.fromEntries(
      Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
    )
  } catch {
    return undefined
  }
}

const unreachable = ({ node, host, port }: AgentAddress, reason: string, cause?: unknown): InsituError =>
  new InsituError('AGENT_UNREACHABLE', `the agent of node ${node} (${host}:${port}) cannot be reached: ${reason}`, {
    status: 'UNAVAILABLE',
    fix: `See \`kubectl -n buildkit-system get pods -l insitu.build/role=agent --field-selector spec.nodeName=${node}\`.`,
    cause,
  })
