import { sessionIdHeader } from '../../buildkit/methods.ts'
import { InsituError } from '../../kernel/errors.ts'
import { status } from '../../kernel/grpc/status.ts'
import type { Hold } from '../correlate/bindings.ts'
import { answerSession, serveSession } from '../split/serve-session.ts'
import type { Http2Client } from '../http2/client.ts'
import type { SessionPlace } from '../split/split-build.ts'
import { soleNode } from './choose.ts'
import type { Call, RelayContext } from './context.ts'
import { endCall } from './end-call.ts'
import { soleHeader } from './headers.ts'
import { claimSession } from './owner.ts'
import { reach } from './reach.ts'
import { pump } from './pump.ts'
import { withOwnSharedKey } from './shared-key.ts'
import { answerAfter } from './tuning.ts'

/** Most bytes of a session that are kept while its node is not decided: a client says hello and then waits. */
const helloLimit = 64 << 10

/**
 * Control/Session: a tunnel in which the daemon calls the client. It usually arrives before or together with the first
 * Solve that names it, so it is held, unanswered, until a Solve decides its node. Where that takes longer than a client waits for
 * a daemon's first word, the tunnel ends here, and what the daemon asks then is relayed call by call.
 */
export async function relaySession(context: RelayContext, call: Call): Promise<void> {
  const id = soleHeader(call.raw, sessionIdHeader)
  if (id === undefined || id === '') {
    throw new InsituError('SESSION_UNNAMED', `the session has no ${sessionIdHeader}`, { status: 'INVALID_ARGUMENT' })
  }
  const owned = claimSession(context, call, id)
  try {
    await serve(context, { ...call, raw: withOwnSharedKey(call.raw, call.caller) }, id)
  } finally {
    owned.release()
  }
}

async function serve(context: RelayContext, call: Call, id: string): Promise<void> {
  const hello = holdBack(call)
  const gone = new AbortController()
  const signal = AbortSignal.any([hello.ended, gone.signal])
  let client: Http2Client | undefined
  const timer = setTimeout(() => {
    if (signal.aborted) return
    client = answerSession(call, hello.stop())
    client.once('close', () => gone.abort(new Error('the client closed the session')))
  }, answerAfter)
  try {
    const hold = await servingNode(context, id, signal)
    if (!hold) {
      if (!client) hello.stop()
      client?.destroy()
      // The client closes the session of a build that was refused and waits for our side to end.
      return endCall(call.stream, status('OK', ''))
    }
    try {
      const { node } = hold.value
      const upstream = node && (await reach(call, node))
      clearTimeout(timer)
      if (!upstream || client)
        return await serveSession(context, call, hold.value, client ?? answerSession(call, hello.stop()))
      const head = hello.stop()
      await pump(call.stream, upstream.request(call.raw), { head, lost: () => upstream.whyLost() })
    } finally {
      hold.release()
    }
  } finally {
    clearTimeout(timer)
  }
}

/** The node of the first Solve that gets one: the error of a refused Solve is answered to the Solve alone. */
async function servingNode(
  context: RelayContext,
  session: string,
  signal: AbortSignal,
): Promise<Hold<SessionPlace> | undefined> {
  // Nothing to decide, and the placement of a build that follows would come to the same. A node that is away may be waited for.
  const { directory } = context
  const sole = soleNode(directory)
  if (sole?.ready && !directory.lately?.().length)
    return context.sessions.claim(session, () => Promise.resolve({ node: sole }))
  while (!signal.aborted) {
    try {
      return await context.sessions.wait(session, Infinity, signal)
    } catch (error) {
      if (!(error instanceof InsituError)) throw error
    }
  }
  return undefined
}

/** Reads a little ahead, because the end of a stream shows only to who reads it. */
function holdBack({ stream, signal }: Call): { ended: AbortSignal; stop(): Buffer } {
  const chunks: Buffer[] = []
  let size = 0
  const end = new AbortController()
  const ended = (): void => end.abort(new Error('the client closed the session'))
  const collect = (chunk: Buffer): void => {
    chunks.push(chunk)
    size += chunk.length
    if (size >= helloLimit) stream.pause()
  }
  stream.on('data', collect)
  stream.once('end', ended)
  return {
    ended: AbortSignal.any([signal, end.signal]),
    stop() {
      stream.pause()
      stream.off('data', collect)
      stream.off('end', ended)
      return Buffer.concat(chunks)
    },
  }
}
