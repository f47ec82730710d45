import type { RawHeaders } from '../http2/raw-headers.ts'
import type { Http2Stream } from '../http2/stream.ts'
import type { Status } from '../../kernel/grpc/status.ts'
import { statusTrailers } from '../../kernel/grpc/status.ts'

/** Header fields of ours as a list. */
export const fieldsOf = (fields: Readonly<Record<string, string>>): RawHeaders => Object.entries(fields).flat()

const answerHeaders = [':status', '200', 'content-type', 'application/grpc']

/**
 * Ends a call with a status of our own: trailers-only when nothing was answered yet, else after what was. Safe on a
 * stream that is gone.
 */
export function endCall(stream: Http2Stream, status: Status): void {
  if (stream.closed) return
  // What the client still sends is of no interest, but unread data would hold back the whole connection.
  if (stream.readableFlowing !== true) stream.resume()
  const trailers = fieldsOf(statusTrailers(status))
  if (stream.headersSent) stream.end(undefined, trailers)
  else stream.respond([...answerHeaders, ...trailers], { endStream: true })
}

/** Answers a unary call: headers, one framed message, OK. */
export function answer(stream: Http2Stream, framed: Uint8Array): void {
  openAnswer(stream)
  stream.end(framed, ['grpc-status', '0'])
}

/** Sends response headers of our own. `endCall` must end the answer. */
export function openAnswer(stream: Http2Stream, headers: RawHeaders = []): void {
  stream.respond([...answerHeaders, ...headers])
}
