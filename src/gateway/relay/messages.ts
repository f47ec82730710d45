import { on, once } from 'node:events'
import { errorCodes } from '../http2/errors.ts'
import { InsituError } from '../../kernel/errors.ts'
import { createDeframer } from '../../kernel/grpc/deframe.ts'
import { frame } from '../../kernel/grpc/framing.ts'
import { decodeMessage, statusName } from '../../kernel/grpc/status.ts'
import { header, type RawHeaders } from './headers.ts'
import { messageLimit } from './tuning.ts'
import type { Upstream } from './upstream.ts'

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
): AsyncGenerator<Buffer> {
  signal.throwIfAborted()
  const stream = upstream.request([
    ...[':method', 'POST', ':scheme', 'http', ':authority', 'localhost', ':path', path],
    ...['content-type', 'application/grpc', 'te', 'trailers'],
  ])
  let code: number | undefined
  let text = ''
  const note = (raw: RawHeaders): void => {
    const status = header(raw, 'grpc-status')
    if (status === undefined) return
    code = Number(status)
    text = decodeMessage(header(raw, 'grpc-message') ?? '')
  }
  stream.on('response', note)
  stream.on('trailers', note)
  const cancel = (): void => stream.close(errorCodes.CANCEL)
  signal.addEventListener('abort', cancel, { once: true })
  const closed = once(stream, 'close').catch(() => undefined)
  try {
    stream.end(frame(message))
    const deframer = createDeframer(messageLimit)
    const marks = { highWaterMark: 8, lowWaterMark: 1, close: ['end', 'close'] }
    for await (const [chunk] of on(stream, 'data', marks)) yield* deframer.push(chunk as Buffer)
    await closed
    signal.throwIfAborted()
    if (code === 0) return
    if (code === undefined) throw upstream.lost() ?? failed(upstream.node, 14, 'the daemon broke the call off')
    throw failed(upstream.node, code, text)
  } finally {
    signal.removeEventListener('abort', cancel)
    if (!stream.closed) cancel()
  }
}

const failed = (node: string, code: number, text: string): InsituError =>
  new InsituError('DAEMON_CALL', `node ${node}: ${text}`, { status: statusName(code) ?? 'UNKNOWN' })
