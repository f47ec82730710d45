import { once } from 'node:events'
import { constants } from 'node:http2'
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
  const note = (raw: RawHeaders | undefined): void => {
    const status = header(raw ?? [], 'grpc-status')
    if (status === undefined) return
    code = Number(status)
    text = decodeMessage(header(raw ?? [], 'grpc-message') ?? '')
  }
  stream.on('response', (_, __, raw?: RawHeaders) => note(raw))
  stream.on('trailers', ((_: object, __: number, raw?: RawHeaders) => note(raw)) as () => void)
  stream.on('error', () => undefined) // how it ended shows below
  const cancel = (): void => stream.close(constants.NGHTTP2_CANCEL)
  signal.addEventListener('abort', cancel, { once: true })
  const closed = once(stream, 'close').catch(() => undefined)
  try {
    stream.end(frame(message))
    const deframer = createDeframer(messageLimit)
    try {
      for await (const chunk of stream as AsyncIterable<Buffer>) yield* deframer.push(chunk)
    } catch (error) {
      if (error instanceof InsituError) throw error
    }
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
