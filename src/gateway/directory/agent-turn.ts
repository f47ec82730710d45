import { request } from 'node:https'
import type { IncomingMessage } from 'node:http'
import { agentPaths, type TurnLine } from '../../api/agent-api.ts'
import type { TlsSource } from '../../kernel/tls/material.ts'
import { type AgentAddress, connectTimeout, secure, unreachable } from './agent-connection.ts'

export interface TurnWish {
  /** It starts while fewer than this build on the node, over all gateways. */
  readonly limit: number
  readonly onPlace: (place: number) => void
  readonly signal: AbortSignal
  /** Milliseconds between two signs of life; agents wait for six of the usual ones. Default 10,000. */
  readonly pulse?: number
}

/**
 * Asks an agent for a turn on its node and waits for it. The turn is the request: it lasts until it is given back, or
 * until one of the two is gone.
 * @returns a function that gives it back.
 * @throws InsituError AGENT_UNREACHABLE (UNAVAILABLE), also where the agent knows no turns; the signal's reason.
 */
export function holdTurn(agent: AgentAddress, tls: TlsSource, wish: TurnWish): Promise<() => void> {
  const { limit, onPlace, signal, pulse = 10_000 } = wish
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error)
    const call = request({
      ...secure(agent, tls, 'http/1.1'),
      ...{ method: 'POST', path: `${agentPaths.turn}?limit=${limit}`, agent: false },
      headers: { 'content-type': 'application/octet-stream' },
    })
    const beat = setInterval(() => void call.write(' '), pulse)
    const late = setTimeout(() => fail(`no answer within ${connectTimeout / 1000} s`), connectTimeout)
    const end = (): void => {
      clearInterval(beat)
      clearTimeout(late)
      signal.removeEventListener('abort', onAbort)
      call.destroy()
    }
    const fail = (reason: string, cause?: unknown): void => {
      end()
      reject(unreachable(agent, reason, cause))
    }
    const onAbort = (): void => {
      end()
      reject(signal.reason as Error)
    }
    const onLine = (line: TurnLine): void => {
      if ('place' in line) return onPlace(line.place)
      signal.removeEventListener('abort', onAbort)
      resolve(end)
    }
    signal.addEventListener('abort', onAbort, { once: true })
    call.on('error', (error) => fail(error.message, error))
    call.on('close', () => fail('it ended the request'))
    call.on('response', (response: IncomingMessage) => {
      clearTimeout(late)
      if (response.statusCode !== 200) return fail(`HTTP ${response.statusCode} for ${agentPaths.turn}`)
      let rest = ''
      response.setEncoding('utf8')
      response.on('error', (error) => fail(error.message, error))
      response.on('data', (piece: string) => {
        const lines = (rest + piece).slice(-4096).split('\n')
        rest = lines.pop() ?? ''
        try {
          for (const line of lines) if (line.trim() !== '') onLine(JSON.parse(line) as TurnLine)
        } catch (error) {
          fail('what it answers cannot be read', error)
        }
      })
    })
    call.flushHeaders()
    call.write(' ')
  })
}
