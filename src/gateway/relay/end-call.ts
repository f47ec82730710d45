import { constants, type ServerHttp2Stream } from 'node:http2'
import type { Status } from '../../kernel/grpc/status.ts'
import { statusTrailers } from '../../kernel/grpc/status.ts'

/**
 * Ends a call with a status of our own: trailers-only when nothing was answered yet, else after what was. Our own
 * answers must have been opened with `waitForTrailers`. Safe on a stream that is gone.
 */
export function endCall(stream: ServerHttp2Stream, status: Status): void {
  if (stream.destroyed || stream.closed) return
  try {
    conclude(stream, status)
  } catch {
    // It is called from events where nobody would catch, and that would end the process and everybody's builds.
    stream.close(constants.NGHTTP2_INTERNAL_ERROR)
  }
}

function conclude(stream: ServerHttp2Stream, status: Status): void {
  // What the client still sends is of no interest, but unread data would hold back the whole connection.
  if (!stream.readableFlowing) stream.resume()
  if (!stream.headersSent) {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc', ...statusTrailers(status) }, {
      endStream: true,
      sendDate: false,
    } as object)
    stopReading(stream)
    return
  }
  if (stream.writableEnded) return
  stream.removeAllListeners('wantTrailers')
  stream.once('wantTrailers', () => {
    stream.sendTrailers(statusTrailers(status))
    stopReading(stream)
  })
  stream.end()
}

/** Answers a unary call: headers, one framed message, OK. */
export function answer(stream: ServerHttp2Stream, framed: Uint8Array): void {
  if (stream.destroyed || stream.closed) return
  openAnswer(stream)
  stream.once('wantTrailers', () => {
    stream.sendTrailers({ 'grpc-status': '0' })
    stopReading(stream)
  })
  stream.end(framed)
}

/** Sends response headers of our own. `endCall` or `wantTrailers` must end the answer. */
export function openAnswer(stream: ServerHttp2Stream): void {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, {
    waitForTrailers: true,
    sendDate: false,
  } as object)
}

/**
 * After our last frame: a client that has not ended its side is told, without an error, that nobody reads on. Not at
 * once: a reset in the same turn overtakes the trailers.
 */
export function stopReading(stream: ServerHttp2Stream): void {
  setImmediate(() => {
    if (!stream.readableEnded && !stream.closed) stream.close(constants.NGHTTP2_NO_ERROR)
  })
}
