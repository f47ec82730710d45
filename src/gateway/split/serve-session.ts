import { describeError, InsituError } from '../../kernel/errors.ts'
import { status } from '../../kernel/grpc/status.ts'
import type { BuildNode } from '../directory/directory.ts'
import { Http2Client } from '../http2/client.ts'
import { Http2Server } from '../http2/server.ts'
import type { Call, RelayContext } from '../relay/context.ts'
import { endCall, openAnswer } from '../relay/end-call.ts'
import { pump } from '../relay/pump.ts'
import { reach } from '../relay/reach.ts'
import { connectionWindow, streamWindow, upstreamOptions } from '../relay/tuning.ts'
import type { SessionPlace } from './split-build.ts'
import { tunnel } from './tunnel.ts'

/** Calls that one daemon has open to a client at a time: contexts, health, secrets. */
const mostCalls = 1000

/**
 * Takes a client's session: its tunnel ends here.
 * @param head what was read of the client's stream before.
 */
export function answerSession(call: Call, head: Buffer): Http2Client {
  openAnswer(call.stream)
  const client = new Http2Client(tunnel(call.stream, head), upstreamOptions)
  client.setWindow(connectionWindow)
  return client
}

/**
 * Serves a client's session to a daemon, or to several: each gets a tunnel of its own, and what a daemon asks is relayed to the
 * client. Resolves when the client or all of it is gone.
 */
export async function serveSession(
  context: RelayContext,
  call: Call,
  { hub, node }: SessionPlace,
  client: Http2Client,
): Promise<void> {
  const over = new AbortController()
  const lost = (): InsituError | undefined =>
    client.destroyed
      ? new InsituError('SESSION_LOST', 'the session of the client is gone', { status: 'UNAVAILABLE' })
      : undefined
  const serve = (to: BuildNode): void => {
    void serveNode(call, to, client, lost, over.signal).catch((error: unknown) => {
      // The build on that node says so itself: its daemon waits for the session in vain.
      context.logger.info({ node: to.name, err: describeError(error) }, 'a session could not be given to a node')
    })
  }
  hub?.serve({
    request: (headers) => client.request(headers),
    get gone() {
      return client.closing
    },
  })
  const stop = hub ? hub.follow(serve) : serve(node)
  try {
    if (!client.destroyed) await new Promise<void>((resolve) => void client.once('close', resolve))
  } finally {
    hub?.leave()
    stop?.()
    over.abort(new Error('the session of the client is gone'))
    endCall(call.stream, status('OK', ''))
  }
}

/** Opens the session to one daemon and relays its calls until either end is gone. */
async function serveNode(
  call: Call,
  node: BuildNode,
  client: Http2Client,
  lost: () => InsituError | undefined,
  over: AbortSignal,
): Promise<void> {
  const upstream = await reach(call, node)
  over.throwIfAborted()
  const server = new Http2Server(tunnel(upstream.request(call.raw)), {
    streamWindow,
    maxConcurrentStreams: mostCalls,
    maxHeaderListSize: upstreamOptions.maxHeaderListSize,
  })
  server.setWindow(connectionWindow)
  server.on('stream', (stream, raw) => void pump(stream, client.request(raw), { lost }))
  await new Promise<void>((resolve) => {
    const end = (): void => server.destroy()
    over.addEventListener('abort', end, { once: true })
    server.once('close', () => {
      over.removeEventListener('abort', end)
      resolve()
    })
  })
}
