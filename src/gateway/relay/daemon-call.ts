import { errorCodes } from '../http2/errors.ts'
import type { Http2Stream } from '../http2/stream.ts'
import { InsituError } from '../../kernel/errors.ts'
import { decodeMessage, statusName } from '../../kernel/grpc/status.ts'
import { header, type RawHeaders } from './headers.ts'
import type { Upstream } from './upstream.ts'

/** A call of our own to a daemon, begun and not yet asked anything. */
export interface DaemonCall {
  readonly stream: Http2Stream
  /** Gives the call up. */
  readonly cancel: () => void
  /**
   * How the call went, once its stream is closed: undefined for OK, else DAEMON_CALL with the daemon's status.
   * @param silent what to say of a daemon that gave no status, unless its connection was lost.
   */
  failure(silent: string): InsituError | undefined
}

const ownHeaders = (path: string): RawHeaders => [
  ...[':method', 'POST', ':scheme', 'http', ':authority', 'localhost', ':path', path],
  ...['content-type', 'application/grpc', 'te', 'trailers'],
]

/** @param headers of a client's call that is made anew. */
export function startCall(upstream: Upstream, path: string, headers: RawHeaders = ownHeaders(path)): DaemonCall {
  const stream = upstream.request(headers)
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
  const failed = (status: number, why: string): InsituError =>
    new InsituError('DAEMON_CALL', `node ${upstream.node}: ${why}`, { status: statusName(status) ?? 'UNKNOWN' })
  return {
    stream,
    cancel: () => stream.close(errorCodes.CANCEL),
    failure(silent) {
      if (code === 0) return undefined
      return code === undefined ? (upstream.lost() ?? failed(14, silent)) : failed(code, text)
    },
  }
}
