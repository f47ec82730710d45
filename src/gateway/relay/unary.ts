import { frame, unframe } from '../../kernel/grpc/framing.ts'
import { startCall } from './daemon-call.ts'
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
  const call = startCall(upstream, path)
  signal.addEventListener('abort', call.cancel, { once: true })
  const timer = setTimeout(call.cancel, timeout)
  try {
    return await new Promise<Buffer>((resolve, reject) => {
      const chunks: Buffer[] = []
      call.stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      call.stream.on('close', () => {
        const failure = call.failure('no answer in time')
        if (failure) reject(failure)
        else resolve(Buffer.concat(chunks))
      })
      call.stream.end(frame(message))
    }).then(unframe)
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', call.cancel)
  }
}
