import { on, once } from 'node:events'
import { createDeframer, type Deframer } from '../../kernel/grpc/deframe.ts'
import { frame } from '../../kernel/grpc/framing.ts'
import { startCall } from './daemon-call.ts'
import type { RawHeaders } from './headers.ts'
import { messageLimit } from './tuning.ts'
import type { Upstream } from './upstream.ts'

export interface MessagesOptions {
  /** Cuts what arrives. Default: into its messages. */
  readonly deframer?: Deframer
  /** Headers of a client's call that is made anew. Default: our own. */
  readonly headers?: RawHeaders
  /** Gets the headers of the answer, before its messages. */
  readonly onAnswer?: (headers: RawHeaders) => void
}

/**
 * A call of our own to a daemon, with one message as request and any number as answer. Reads no faster than its
 * messages are taken; leaving the loop early ends the call.
 * @throws InsituError DAEMON_CALL with the daemon's status; NODE_LOST; the signal's reason when it aborts.
 */
export async function* messagesFrom(
  upstream: Upstream,
  path: string,
  message: Uint8Array,
  signal: AbortSignal,
  { deframer = createDeframer(messageLimit), headers, onAnswer }: MessagesOptions = {},
): AsyncGenerator<Buffer> {
  signal.throwIfAborted()
  const call = startCall(upstream, path, headers)
  const { stream } = call
  signal.addEventListener('abort', call.cancel, { once: true })
  if (onAnswer) stream.once('response', onAnswer)
  const closed = once(stream, 'close').catch(() => undefined)
  try {
    stream.end(frame(message))
    const marks = { highWaterMark: 8, lowWaterMark: 1, close: ['end', 'close'] }
    for await (const [chunk] of on(stream, 'data', marks)) yield* deframer.push(chunk as Buffer)
    await closed
    signal.throwIfAborted()
    const failure = call.failure('the daemon broke the call off')
    if (failure) throw failure
  } finally {
    signal.removeEventListener('abort', call.cancel)
    call.cancel()
  }
}
