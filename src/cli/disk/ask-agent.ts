import { request as httpRequest } from 'node:http'
import { agentPaths, agentSocket } from '../../api/agent-api.ts'
import { InsituError } from '../../kernel/errors.ts'

/** Where an agent's socket is in its pod, and on its node. */
export const usualSocket = `/run/buildkit/${agentSocket}`

export type Question = 'usage' | 'origins' | 'prune'

/**
 * Asks the agent of this machine and hands out the lines of its answer as they come.
 * @param body JSON, for `prune`.
 * @throws InsituError NO_AGENT when nobody listens, AGENT_REFUSED with what the agent says.
 */
export async function askAgent(
  socket: string,
  question: Question,
  body: string | undefined,
  onLine: (line: string) => void,
): Promise<void> {
  const method = question === 'prune' ? 'POST' : 'GET'
  await new Promise<void>((resolve, reject) => {
    const absent = (cause: Error): void =>
      reject(
        new InsituError('NO_AGENT', `no agent listens on ${socket}`, {
          status: 'UNAVAILABLE',
          fix: 'run it as root where an insitu agent or insitu local runs, and name its socket with --socket',
          cause,
        }),
      )
    const outgoing = httpRequest({ socketPath: socket, path: agentPaths[question], method, agent: false }, (answer) => {
      let rest = ''
      answer.setEncoding('utf8')
      answer.on('error', absent)
      answer.on('data', (chunk: string) => {
        const lines = (rest + chunk).split('\n')
        rest = lines.pop() ?? ''
        if (answer.statusCode === 200) for (const line of lines) onLine(line)
      })
      answer.on('end', () => {
        if (answer.statusCode !== 200) return reject(refusal(rest, answer.statusCode))
        if (rest !== '') onLine(rest)
        resolve()
      })
    })
    outgoing.on('error', absent)
    outgoing.end(body)
  })
}

function refusal(text: string, status: number | undefined): InsituError {
  let said: { error?: unknown; fix?: unknown } = {}
  try {
    said = JSON.parse(text) as typeof said
  } catch {
    // An older agent answers with a status alone.
  }
  const sentence = typeof said.error === 'string' ? said.error : `the agent answered with status ${status}`
  return new InsituError('AGENT_REFUSED', sentence, {
    status: 'UNAVAILABLE',
    ...(typeof said.fix === 'string' ? { fix: said.fix } : {}),
  })
}
