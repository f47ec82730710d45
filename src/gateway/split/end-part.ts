import { statusOf } from '../../kernel/grpc/status.ts'
import type { Http2Stream } from '../http2/stream.ts'
import { endCall, openAnswer } from '../relay/end-call.ts'
import { DaemonRefusal } from './exchange.ts'

/** Ends a client's call with what went wrong first: a daemon's own trailers, details included, or our status. */
export function endWith(stream: Http2Stream, error: unknown): void {
  if (!(error instanceof DaemonRefusal)) return endCall(stream, statusOf(error))
  if (stream.closed) return
  if (!stream.headersSent) openAnswer(stream)
  stream.end(undefined, error.trailers)
}
