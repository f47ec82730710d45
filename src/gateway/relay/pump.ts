import { type ClientHttp2Stream, constants, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2'
import type { Readable, Writable } from 'node:stream'
import { endCall, stopReading } from './end-call.ts'
import { downstreamHeaders, header, headerObject, type RawHeaders } from './headers.ts'
import { InsituError } from '../../kernel/errors.ts'
import { type Status, statusOf } from '../../kernel/grpc/status.ts'

export interface PumpOptions {
  /** The whole request body, when it was read before. Default: the client's stream, as it comes. */
  readonly body?: Uint8Array
  /** What was read of the client's stream before. */
  readonly head?: Uint8Array
  /** Lets whole messages of the answer pass only, so that others can be written between them. */
  readonly cut?: (chunk: Buffer) => Buffer
  /** Sees every byte of the answer on its way. */
  readonly onData?: (chunk: Buffer) => void
  /** Runs after the daemon's last message and before the client learns the status. @returns another one to end with. */
  readonly beforeTrailers?: (status: number) => Promise<Status | void>
  /** Why the daemon's connection ended, when it has. */
  readonly lost: () => InsituError | undefined
}

/** How a relayed call ended: a gRPC status, a reset of either side, or the daemon's connection going away. */
export type PumpEnd =
  | { readonly kind: 'status'; readonly code: number; readonly message: string | undefined }
  | { readonly kind: 'reset'; readonly by: 'client' | 'daemon'; readonly code: number }
  | { readonly kind: 'lost'; readonly error: InsituError }

const endStream = constants.NGHTTP2_FLAG_END_STREAM

/** Milliseconds. */
const closingMoment = 20

const noStatus = (): InsituError =>
  new InsituError('NO_STATUS', 'the build daemon ended a call without saying how it went', {
    status: 'UNAVAILABLE',
    fix: 'run the build again',
  })

/** Headers that HTTP/2 does not allow make Node throw, in an event of another stream, where nobody would catch it. */
function attempt(stream: ServerHttp2Stream, send: () => void): void {
  if (stream.destroyed || stream.closed) return
  try {
    send()
  } catch {
    stream.close(constants.NGHTTP2_INTERNAL_ERROR)
  }
}

/** Bytes of one call that may wait here. Less, and the two sides take turns instead of working at the same time. */
const buffered = 128 << 10

/** Copies data, and stops reading while the other side does not keep up. */
function forward(from: Readable, to: Writable, options: Pick<PumpOptions, 'onData' | 'cut'> = {}): void {
  const { onData, cut } = options
  from.on('data', (data: Buffer) => {
    onData?.(data)
    const chunk = cut ? cut(data) : data
    if (chunk.length === 0 || to.destroyed || to.writableEnded) return
    to.write(chunk)
    if (to.writableLength < buffered) return
    from.pause()
    to.once('drain', () => from.resume())
  })
}

/**
 * Joins a client's stream and a daemon's: bodies with back-pressure in both directions, half-close, trailers,
 * trailers-only answers and resets with their codes. Resolves when the client's side is done; never rejects.
 */
export function pump(down: ServerHttp2Stream, up: ClientHttp2Stream, options: PumpOptions): Promise<PumpEnd> {
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
      const end: PumpEnd = { kind: 'status', code, message: header(raw, 'grpc-message') }
      const conclude = (): void => {
        attempt(down, send)
        finish(end)
      }
      if (!options.beforeTrailers) return conclude()
      const decided = (instead: Status | void): void => {
        if (!instead) return conclude()
        endCall(down, instead)
        finish({ kind: 'status', ...instead })
      }
      options.beforeTrailers(code).then(decided, conclude)
    }

    const endWithTrailers = (raw: RawHeaders): void => {
      complete(raw, () => {
        down.removeAllListeners('wantTrailers')
        down.once('wantTrailers', () => {
          attempt(down, () => down.sendTrailers(headerObject(raw)))
          stopReading(down)
        })
        down.end()
      })
    }

    // The last data and the trailers are announced independently of each other.
    let completing = false
    const maybeComplete = (): void => {
      if (!ended || trailers === undefined || completing) return
      completing = true
      endWithTrailers(trailers)
    }

    up.on('response', (_: IncomingHttpHeaders, flags: number, raw?: RawHeaders) => {
      if (down.destroyed || down.closed) return
      const headers = downstreamHeaders(raw ?? [])
      if ((flags & endStream) !== 0) {
        completing = true
        up.resume()
        if (down.headersSent) return endWithTrailers(headers.filter((_, i) => !headers[i - (i % 2)]?.startsWith(':')))
        return complete(headers, () => {
          down.respond(headers, { endStream: true, sendDate: false } as object)
          stopReading(down)
        })
      }
      if (!down.headersSent) {
        attempt(down, () => down.respond(headers, { waitForTrailers: true, sendDate: false } as object))
      }
      forward(up, down, options)
      up.on('end', () => {
        ended = true
        maybeComplete()
      })
    })
    up.on('trailers', ((_: IncomingHttpHeaders, __: number, raw?: RawHeaders) => {
      trailers = raw ?? []
      maybeComplete()
    }) as (headers: IncomingHttpHeaders, flags: number) => void)
    up.on('error', () => undefined) // 'close' follows and tells how it ended
    up.on('close', () => {
      if (done || completing) return
      const conclude = (): void => {
        const lost = options.lost()
        if (lost || up.rstCode === constants.NGHTTP2_NO_ERROR) {
          const error = lost ?? noStatus()
          endCall(down, statusOf(error))
          return finish({ kind: 'lost', error })
        }
        if (!down.destroyed && !down.closed) down.close(up.rstCode)
        finish({ kind: 'reset', by: 'daemon', code: up.rstCode })
      }
      // The calls of a dying connection end a moment before the connection does.
      setTimeout(conclude, closingMoment)
    })

    down.on('error', () => undefined)
    down.on('close', () => {
      const code = down.rstCode === constants.NGHTTP2_NO_ERROR ? constants.NGHTTP2_CANCEL : down.rstCode
      if (!up.closed) up.close(done ? constants.NGHTTP2_NO_ERROR : code)
      finish({ kind: 'reset', by: 'client', code })
    })
    if (down.destroyed || down.closed) {
      up.close(constants.NGHTTP2_CANCEL)
      return finish({ kind: 'reset', by: 'client', code: constants.NGHTTP2_CANCEL })
    }
    if (options.body) return void up.end(options.body)
    if (options.head && options.head.length > 0) up.write(options.head)
    if (down.readableEnded) return void up.end()
    forward(down, up)
    down.on('end', () => up.end())
    down.resume()
  })
}
