import { request } from 'node:https'
import type { IncomingMessage } from 'node:http'
import { agentPaths } from '../../api/agent-api.ts'
import type { TlsSource } from '../../kernel/tls/material.ts'
import { type AgentAddress, connectTimeout, secure, unreachable } from './agent-connection.ts'

export interface AgentRequest {
  readonly method: 'GET' | 'POST'
  /** See `agentPaths`. */
  readonly path: string
  /** Sent as JSON. */
  readonly body?: unknown
  /** Milliseconds for all of it. Default 5,000. */
  readonly timeout?: number
  /** Milliseconds until there is a connection. Default: as long as all of it may take. */
  readonly connecting?: number
  readonly signal?: AbortSignal
}

/** A node that somebody took over cannot fill our memory. */
const mostBytes = 8 << 20

/**
 * One request of the agent's own API.
 * @returns the answer, parsed.
 * @throws InsituError AGENT_UNREACHABLE (UNAVAILABLE), also for an answer that is not 200 or not JSON.
 */
export async function askAgent(agent: AgentAddress, tls: TlsSource, asked: AgentRequest): Promise<unknown> {
  let text = ''
  await send(agent, tls, asked, (piece) => (text += piece))
  try {
    return text === '' ? undefined : (JSON.parse(text) as unknown)
  } catch (error) {
    throw unreachable(agent, `what it answers to ${asked.path} is not JSON`, error)
  }
}

/**
 * As `askAgent`, for an answer of JSON lines.
 * @param onLine gets each line, parsed, as it comes.
 */
export async function askAgentForLines(
  agent: AgentAddress,
  tls: TlsSource,
  asked: AgentRequest,
  onLine: (line: unknown) => void,
): Promise<void> {
  let rest = ''
  await send(agent, tls, asked, (piece) => {
    const lines = (rest + piece).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) if (line.trim() !== '') onLine(JSON.parse(line))
  })
  if (rest.trim() !== '') onLine(JSON.parse(rest))
}

function send(
  agent: AgentAddress,
  tls: TlsSource,
  { method, path, body, timeout = connectTimeout, connecting, signal }: AgentRequest,
  onText: (piece: string) => void,
): Promise<void> {
  const limit = AbortSignal.timeout(timeout)
  return new Promise((resolve, reject) => {
    const fail = (reason: string, cause?: unknown): void => reject(unreachable(agent, reason, cause))
    const onError = (error: Error): void => {
      if (signal?.aborted) return reject(signal.reason as Error)
      fail(limit.aborted ? `no answer within ${timeout / 1000} s` : error.message, error)
    }
    const call = request(
      {
        ...secure(agent, tls, 'http/1.1'),
        ...{ method, path, agent: false },
        ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' } }),
        signal: signal ? AbortSignal.any([signal, limit]) : limit,
      },
      (response: IncomingMessage) => {
        let size = 0
        response.setEncoding('utf8')
        response.on('data', (piece: string) => {
          size += piece.length
          if (size > mostBytes) return void call.destroy(new Error('the answer is too long'))
          if (response.statusCode !== 200) return
          try {
            onText(piece)
          } catch (error) {
            call.destroy(error instanceof Error ? error : new Error('the answer cannot be read'))
          }
        })
        response.on('error', onError)
        response.on('end', () => {
          if (response.statusCode === 200) resolve()
          else fail(`HTTP ${response.statusCode} for ${path}`)
        })
      },
    )
    call.on('error', onError)
    if (connecting !== undefined) {
      const late = new Error(`no connection within ${connecting / 1000} s`)
      const timer = setTimeout(() => call.destroy(late), connecting)
      call.once('socket', (socket) => socket.once('secureConnect', () => clearTimeout(timer)))
      call.once('close', () => clearTimeout(timer))
    }
    call.end(body === undefined ? undefined : JSON.stringify(body))
  })
}

/**
 * Asks an agent for its proxy variables.
 * @throws InsituError AGENT_UNREACHABLE (UNAVAILABLE)
 */
export async function fetchProxy(
  agent: AgentAddress,
  tls: TlsSource,
  timeout?: number,
): Promise<Readonly<Record<string, string>>> {
  const path = agentPaths.proxy
  const value = await askAgent(agent, tls, { method: 'GET', path, ...(timeout === undefined ? {} : { timeout }) })
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw unreachable(agent, `what it answers to ${path} is no list of variables`)
  }
  return Object.fromEntries(
    Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  )
}
