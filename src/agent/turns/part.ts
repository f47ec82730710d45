import type { IncomingMessage, ServerResponse } from 'node:http'
import { agentPaths, type TurnLine } from '../../api/agent-api.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { Handler } from '../front/handlers.ts'
import type { Part } from '../part.ts'
import { createNodeTurns, type NodeTurns } from './turns.ts'

/** Gives turns on this node to gateways, which share nothing else. */
export const turnsPart: Part = {
  name: 'turns',
  start() {
    const turns = createNodeTurns()
    return Promise.resolve({
      handlers: [turnHandler(turns)],
      metrics: () =>
        '# HELP insitu_agent_turns_taken Builds that hold a turn on this node, of all gateways.\n' +
        '# TYPE insitu_agent_turns_taken gauge\n' +
        `insitu_agent_turns_taken ${turns.taken}\n` +
        '# HELP insitu_agent_turns_waiting Builds that wait for a turn on this node.\n' +
        '# TYPE insitu_agent_turns_waiting gauge\n' +
        `insitu_agent_turns_waiting ${turns.waiting}\n`,
      stop: () => Promise.resolve(),
    })
  },
}

/** A gateway says something every ten seconds as long as it wants its turn. Milliseconds of silence that end it. */
const silence = 60_000

/**
 * `POST /v1/turn?limit=N`: lines of JSON, a place while it waits and then its turn, which lasts as long as the request
 * does. A gateway that dies gives its turns back by that; one whose node is gone says nothing any more.
 */
export const turnHandler = (turns: NodeTurns, patience = silence): Handler => ({
  methods: ['POST'],
  path: agentPaths.turn,
  allow: ['gateway'],
  async handle(request, response, { url }) {
    const text = url.searchParams.get('limit') ?? ''
    if (!/^[1-9]\d{0,5}$/.test(text)) {
      throw new InsituError('BODY', 'limit= must be a number from 1', { status: 'INVALID_ARGUMENT' })
    }
    const gone = endOf(request, response, patience)
    const say = (line: TurnLine): void => {
      if (!response.destroyed) response.write(`${JSON.stringify(line)}\n`)
    }
    response.writeHead(200, { 'content-type': 'application/jsonl', 'cache-control': 'no-store' })
    response.flushHeaders()
    let release: (() => void) | undefined
    try {
      const onPlace = (place: number): void => say({ place })
      release = await turns.wait({ limit: Number(text), onPlace, signal: gone })
      say({ turn: true })
      if (!gone.aborted) await new Promise((resolve) => gone.addEventListener('abort', resolve, { once: true }))
    } catch (error) {
      if (!gone.aborted) throw error
    } finally {
      release?.()
      response.destroy()
    }
  },
})

/** Aborts when the request is over, from either side, or silent for too long. */
function endOf(request: IncomingMessage, response: ServerResponse, patience: number): AbortSignal {
  const gone = new AbortController()
  const over = (): void => {
    clearTimeout(timer)
    gone.abort(new Error('whoever wanted the turn is gone'))
  }
  const timer = setTimeout(over, patience)
  request.on('data', () => timer.refresh())
  request.once('end', over)
  request.once('error', over)
  response.once('close', over)
  return gone.signal
}
