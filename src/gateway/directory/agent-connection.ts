import { connect, createSecureContext, type ConnectionOptions, type SecureContext, type TLSSocket } from 'node:tls'
import { agentServerName } from '../../api/certificate.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { TlsMaterial, TlsSource } from '../../kernel/tls/material.ts'

export interface AgentAddress {
  readonly node: string
  readonly host: string
  readonly port: number
}

export const connectTimeout = 5000

/**
 * One for each certificate, however many agents are asked: parsing the same PEM for each of 5,000 connections costs
 * milliseconds and memory outside of V8's heap, which V8 is in no hurry to give back.
 */
const contexts = new WeakMap<TlsMaterial, SecureContext>()

function contextOf(material: TlsMaterial): SecureContext {
  const known = contexts.get(material)
  if (known) return known
  const { cert, key, ca } = material
  const context = createSecureContext({ cert, key, ca, minVersion: 'TLSv1.3' })
  contexts.set(material, context)
  return context
}

/** TLS options that show our certificate and accept only the agent of this node, whatever answers at the address. */
export function secure(agent: AgentAddress, tls: TlsSource, protocol: string): ConnectionOptions {
  const { host, port, node } = agent
  return {
    ...{ host, port },
    secureContext: contextOf(tls.current()),
    servername: agentServerName(node),
    ALPNProtocols: [protocol],
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

export const unreachable = ({ node, host, port }: AgentAddress, reason: string, cause?: unknown): InsituError =>
  new InsituError('AGENT_UNREACHABLE', `the agent of node ${node} (${host}:${port}) cannot be reached: ${reason}`, {
    status: 'UNAVAILABLE',
    fix: `See \`kubectl -n buildkit-system get pods -l insitu.build/role=agent --field-selector spec.nodeName=${node}\`.`,
    cause,
  })

/** Its pod is there, and has not been given one. */
export const noAddress = (node: string): InsituError =>
  new InsituError('AGENT_UNREACHABLE', `the agent of node ${node} has no address yet`, { status: 'UNAVAILABLE' })
