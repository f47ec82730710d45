import { InsituError } from '../../kernel/errors.ts'
import { frame, unframe } from '../../kernel/grpc/framing.ts'
import { decodeMessage, statusName } from '../../kernel/grpc/status.ts'
import { header, type RawHeaders } from './headers.ts'
import type { Upstream } from './upstream.ts'

/**
 * A unary call of our own to a daemon.
 * @throws InsituError DAEMON_CALL with the daemon's status, UNAVAILABLE after `timeout` milliseconds.
 */
export async function unaryUpstream(
  upstream: Upstream,
  path: string,
  message: Uint8Array,
  signal: AbortSignal,
  timeout = 2000,
): Promise<Buffer> {
  const failed = (code: number, text: string): InsituError =>
    new InsituError('DAEMON_CALL', `node ${upstream.node}: ${text}`, { status: statusName(code) ?? 'UNKNOWN' })
  const stream = upstream.request(
    Object.entries({
      ':method': 'POST',
      ':scheme': 'http',
      ':authority': 'localhost',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
    }).flat(),
  )
  const cancel = (): void => stream.close(8)
  signal.addEventListener('abort', cancel, { once: true })
  const timer = setTimeout(cancel, timeout)
  try {
    return await new Promise<Buffer>((resolve, reject) => {
      const chunks: Buffer[] = []
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
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.on('close', () => {
        if (code === 0) return resolve(Buffer.concat(chunks))
        reject(code === undefined ? (upstream.lost() ?? failed(14, 'no answer in time')) : failed(code, text))
      })
      stream.end(frame(message))
    }).then(unframe)
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', cancel)
  }
}
