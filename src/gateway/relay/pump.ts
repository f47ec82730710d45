import { errorCodes } from '../http2/errors.ts'
import type { Http2Stream } from '../http2/stream.ts'
import { endCall } from './end-call.ts'
import { downstreamHeaders, header, type RawHeaders } from './headers.ts'
import { InsituError } from '../../kernel/errors.ts'
import { decodeMessage, type Status, statusOf } from '../../kernel/grpc/status.ts'

export interface PumpOptions {
  /** The whole request body, when it was read before. Default: the client's stream, as it comes. */
  readonly body?: Uint8Array
  /** What was read of the client's stream before. */
  readonly head?: Uint8Array
  /** Changes the client's stream on its way. Must not throw. */
  readonly asked?: (chunk: Buffer) => Buffer
  /** Lets whole messages of the answer pass only, so that others can be written between them. */
  readonly cut?: (chunk: Buffer) => Buffer
  /** Sees every byte of the answer on its way. */
  readonly onData?: (chunk: Buffer) => void
  /** Runs after the daemon's last message and before the client learns the status. @returns another one to end with. */
  readonly beforeTrailers?: (status: number, message: string) => Promise<Status | void>
  /** Why the daemon's connection ended, when it has. */
  readonly lost: () => InsituError | undefined | Promise<InsituError | undefined>
}

/** How a relayed call ended: a gRPC status, a reset of either side, or the daemon's connection going away. */
export type PumpEnd =
  | { readonly kind: 'status'; readonly code: number; readonly message: string | undefined }
  | { readonly kind: 'reset'; readonly by: 'client' | 'daemon'; readonly code: number }
  | { readonly kind: 'lost'; readonly error: InsituError }

/** Milliseconds. */
const closingMoment = 20

const noStatus = (): InsituError =>
  new InsituError('NO_STATUS', 'the build daemon ended a call without saying how it went', {
    status: 'UNAVAILABLE',
    fix: 'run the build again',
  })

/** Copies data, and stops reading while the other side does not keep up. */
function forward(from: Http2Stream, to: Http2Stream, options: Pick<PumpOptions, 'onData' | 'cut'> = {}): void {
  const { onData, cut } = options
  from.on('data', (data: Buffer) => {
    onData?.(data)
    const chunk = cut ? cut(data) : data
    if (chunk.length === 0 || to.closed || to.writableEnded || (cut ? to.write(chunk) : to.pass(chunk))) return
    from.pause()
    to.once('drain', () => from.resume())
  })
}

/**
 * Joins a client's stream and a daemon's: bodies with back-pressure in both directions, half-close, trailers,
 * trailers-only answers and resets with their codes. Resolves when the client's side is done; never rejects.
 */
export function pump(down: Http2Stream, up: Http2Stream, options: PumpOptions): Promise<PumpEnd> {
  return new Promise((resolve) => {
    let done = false
    let trailers: RawHeaders | undefined
    let ended = false
    const finish = (end: PumpEnd): void => {
      if (done) return
      done = true
      resolve(end)
    }

    const complete = (raw: RawHeaders, send: () => void): void => {
      const code = Number(header(raw, 'grpc-status') ?? 2)
      const encoded = header(raw, 'grpc-message')
      const message = encoded === undefined ? undefined : decodeMessage(encoded)
      const end = { kind: 'status' as const, code, message }
      const conclude = (): void => {
        send()
        finish(end)
      }
      if (!options.beforeTrailers) return conclude()
      const decided = (instead: Status | void): void => {
        if (!instead) return conclude()
        endCall(down, instead)
        finish({ kind: 'status', ...instead })
      }
      options.beforeTrailers(code, message ?? '').then(decided, conclude)
    }

    const endWithTrailers = (raw: RawHeaders): void => {
      complete(raw, () => down.end(undefined, raw))
    }

    // The last data and the trailers are announced independently of each other.
    let completing = false
    const maybeComplete = (): void => {
      if (!ended || trailers === undefined || completing) return
      completing = true
      endWithTrailers(trailers)
    }

    up.on('response', (raw, endStream) => {
      if (down.closed) return
      const headers = downstreamHeaders(raw)
      if (endStream) {
        completing = true
        up.resume()
        if (down.headersSent) return endWithTrailers(headers.filter((_, i) => !headers[i - (i % 2)]?.startsWith(':')))
        return complete(headers, () => down.respond(headers, { endStream: true }))
      }
      down.respond(headers)
      forward(up, down, options)
      up.on('end', () => {
        ended = true
        maybeComplete()
      })
    })
    up.on('trailers', (raw) => {
      trailers = raw
      maybeComplete()
    })
    up.on('close', () => {
      // What the client still sends, and what waits since the daemon did not keep up, is for nobody.
      down.resume()
      if (done || completing) return
      const conclude = async (): Promise<void> => {
        const lost = await options.lost()
        // The client may have gone meanwhile.
        if (done) return
        if (lost || up.rstCode === errorCodes.NO_ERROR) {
          const error = lost ?? noStatus()
          endCall(down, statusOf(error))
          return finish({ kind: 'lost', error })
        }
        down.close(up.rstCode)
        finish({ kind: 'reset', by: 'daemon', code: up.rstCode })
      }
      // The calls of a dying connection end a moment before the connection does.
      setTimeout(() => void conclude(), closingMoment)
    })

    down.on('close', () => {
      const code = down.rstCode === errorCodes.NO_ERROR ? errorCodes.CANCEL : down.rstCode
      up.close(done ? errorCodes.NO_ERROR : code)
      finish({ kind: 'reset', by: 'client', code })
    })
    if (down.closed) {
      up.close(errorCodes.CANCEL)
      return finish({ kind: 'reset', by: 'client', code: errorCodes.CANCEL })
    }
    if (options.body) return up.end(options.body)
    if (options.head && options.head.length > 0) up.write(options.head)
    if (down.readableEnded) return up.end()
    forward(down, up, options.asked ? { cut: options.asked } : {})
    down.on('end', () => up.end())
    down.resume()
  })
}
