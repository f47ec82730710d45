import type { IncomingMessage, ServerResponse } from 'node:http'
import { agentPaths } from '../../api/agent-api.ts'
import type { PruneProgress } from '../../api/disk.ts'
import { readPruneRequest } from '../../api/prune-request.ts'
import { describeError, InsituError } from '../../kernel/errors.ts'
import { readBody } from '../../kernel/grpc/framing.ts'
import type { NodeOrigins } from '../../api/built-on.ts'
import type { NodeDisk } from './node.ts'
import { prune } from './prune.ts'

const maxRequest = 1 << 20

/** What the socket tells of besides the disk. */
export interface SocketAnswers {
  readonly origins: () => Promise<NodeOrigins>
}

/**
 * Answers `GET /v1/usage`, `GET /v1/origins` and `POST /v1/prune`. Failures before the first byte are a status with the
 * sentence and its fix as JSON; later ones are the last line.
 */
export async function answerDisk(
  disk: NodeDisk,
  { origins }: SocketAnswers,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const path = request.url ?? ''
  const read = { [agentPaths.usage]: () => disk.usage(), [agentPaths.origins]: origins }[path]
  const method = read ? 'GET' : path === agentPaths.prune ? 'POST' : undefined
  if (method === undefined || request.method !== method) {
    response.writeHead(method === undefined ? 404 : 405).end()
    return
  }
  try {
    if (read) {
      const answer = await read()
      response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' })
      response.end(JSON.stringify(answer))
      return
    }
    const text = (await readBody(request, maxRequest)).toString('utf8')
    const wanted = readPruneRequest(parse(text))
    await prune(disk, wanted, (line) => write(response, line))
  } catch (error) {
    if (response.headersSent) write(response, { error: describeError(error) })
    else {
      const wrong = error instanceof InsituError && error.status === 'INVALID_ARGUMENT'
      const fix = error instanceof InsituError ? error.fix : undefined
      response.writeHead(wrong ? 400 : 503, { 'content-type': 'application/json' })
      response.write(JSON.stringify({ error: describeError(error), ...(fix === undefined ? {} : { fix }) }))
    }
  }
  response.end()
}

function write(response: ServerResponse, line: PruneProgress): void {
  if (!response.headersSent) response.writeHead(200, { 'content-type': 'application/x-ndjson' })
  response.write(`${JSON.stringify(line)}\n`)
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text === '' ? '{}' : text)
  } catch (cause) {
    throw new InsituError('PRUNE_REQUEST', 'the request for pruning is not JSON', { status: 'INVALID_ARGUMENT', cause })
  }
}
