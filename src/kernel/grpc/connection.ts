import { type ClientHttp2Session, connect as connectHttp2, constants } from 'node:http2'
import { connect as connectSocket } from 'node:net'
import type { Duplex } from 'node:stream'
import { grpcStatus, type GrpcStatus, InsituError } from '../errors.ts'
import { frame, framePrefix } from './framing.ts'

export interface GrpcCall {
  /** `/package.Service/Method`. */
  readonly method: string
  /** The encoded request; default empty. */
  readonly request?: Uint8Array
  readonly metadata?: Readonly<Record<string, string>>
  /** Milliseconds for the whole call. Default 5,000. */
  readonly timeout?: number | undefined
}

/** A gRPC server that is reached otherwise than by a unix socket. */
export interface GrpcServer {
  /** For errors. */
  readonly name: string
  readonly connect: () => Duplex
}

/** A connection to a gRPC server, for many calls in a row. */
export interface GrpcConnection {
  /**
   * One call with one request and any number of answers, each given to `onMessage` as it comes. Settles at its end.
   * @throws InsituError GRPC_CALL_FAILED with the call's status; UNAVAILABLE when nobody answers in time.
   */
  stream(call: GrpcCall, onMessage: (message: Uint8Array) => void): Promise<void>
  /** One call with one answer. @throws as `stream`; INTERNAL when there is no answer in it. */
  unary(call: GrpcCall): Promise<Uint8Array>
  /** For good: calls under way and later ones fail with UNAVAILABLE. */
  close(): void
}

const nameOf = (code: number): GrpcStatus =>
  (Object.keys(grpcStatus) as GrpcStatus[]).find((name) => grpcStatus[name] === code) ?? 'UNKNOWN'

/**
 * Connects with the first call. Protocol: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 * @param server path of a unix socket, or what connects.
 */
export function grpcConnection(server: string | GrpcServer): GrpcConnection {
  const { name: socket, connect } =
    typeof server === 'string' ? { name: server, connect: () => connectSocket(server) } : server
  let session: ClientHttp2Session | undefined
  let closed = false
  const open = (): ClientHttp2Session | undefined => {
    // A late caller must not bring it back: nobody would close it again, and it would keep the process alive.
    if (closed) return undefined
    if (session && !session.destroyed && !session.closed) return session
    session = connectHttp2('http://localhost', { createConnection: connect })
    // Each call listens for itself; without a listener here an idle connection that breaks would end the process.
    session.on('error', () => undefined)
    // … and many calls at a time are no leak.
    session.setMaxListeners(0)
    return session
  }
  const stream: GrpcConnection['stream'] = async (call, onMessage) => {
    const fail = (status: GrpcStatus, message: string, cause?: unknown): InsituError =>
      new InsituError('GRPC_CALL_FAILED', `${call.method} on ${socket}: ${message}`, { status, cause })
    const session = open()
    if (!session) throw fail('UNAVAILABLE', 'the connection was closed')
    let timer: NodeJS.Timeout | undefined
    let listeners: readonly (readonly [string, (error?: Error) => void])[] = []
    try {
      await new Promise<void>((resolve, reject) => {
        listeners = [
          ['error', (error) => reject(fail('UNAVAILABLE', error?.message ?? 'the connection failed', error))],
          ['close', () => reject(fail('UNAVAILABLE', 'the connection was closed'))],
        ]
        for (const [event, listener] of listeners) session.on(event, listener)
        const request = session.request({
          ...call.metadata,
          [constants.HTTP2_HEADER_METHOD]: 'POST',
          [constants.HTTP2_HEADER_PATH]: call.method,
          'content-type': 'application/grpc',
          te: 'trailers',
        })
        timer = setTimeout(() => {
          reject(fail('UNAVAILABLE', 'no answer in time'))
          request.close(constants.NGHTTP2_CANCEL)
        }, call.timeout ?? 5000)
        const take = messageReader(onMessage)
        let status: unknown
        let message: unknown
        const note = (headers: Record<string, unknown>): void => {
          status = headers['grpc-status'] ?? status
          message = headers['grpc-message'] ?? message
        }
        request.on('response', note)
        request.on('trailers', note)
        request.on('data', (chunk: Buffer) => {
          try {
            take.push(chunk)
          } catch (error) {
            reject(error)
            request.close(constants.NGHTTP2_CANCEL)
          }
        })
        request.on('error', (error) => reject(fail('UNAVAILABLE', error.message, error)))
        request.on('close', () => reject(fail('UNAVAILABLE', 'the call was cut off')))
        request.on('end', () => {
          if (status === undefined) return reject(fail('UNAVAILABLE', 'the answer is not gRPC'))
          if (Number(status) !== 0) {
            const sentence = typeof message === 'string' ? decodePercent(message) : nameOf(Number(status))
            return reject(fail(nameOf(Number(status)), sentence))
          }
          if (take.pending() > 0) return reject(fail('INTERNAL', 'the answer was cut off'))
          resolve()
        })
        request.end(frame(call.request ?? new Uint8Array()))
      })
    } finally {
      clearTimeout(timer)
      for (const [event, listener] of listeners) session.off(event, listener)
    }
  }
  return {
    stream,
    async unary(call) {
      let answer: Uint8Array | undefined
      await stream(call, (message) => (answer ??= message))
      if (answer) return answer
      throw new InsituError('GRPC_CALL_FAILED', `${call.method} on ${socket}: the answer has no plain message`, {
        status: 'INTERNAL',
      })
    },
    close() {
      closed = true
      session?.destroy()
    },
  }
}

/** Cuts a body into messages. Chunks of a long message are joined once. @throws InsituError GRPC_FRAME when compressed. */
function messageReader(onMessage: (message: Uint8Array) => void) {
  let chunks: Buffer[] = []
  let size = 0
  let wanted = framePrefix
  return {
    pending: () => size,
    push(chunk: Buffer): void {
      chunks.push(chunk)
      size += chunk.length
      while (size >= wanted) {
        const bytes = chunks.length === 1 ? chunk : Buffer.concat(chunks, size)
        chunks = [bytes]
        if (bytes[0] !== 0) {
          throw new InsituError('GRPC_FRAME', 'compressed gRPC messages are not supported', { status: 'UNIMPLEMENTED' })
        }
        wanted = framePrefix + bytes.readUInt32BE(1)
        if (size < wanted) return
        onMessage(bytes.subarray(framePrefix, wanted))
        chunk = bytes.subarray(wanted)
        chunks = [chunk]
        size -= wanted
        wanted = framePrefix
      }
    },
  }
}

function decodePercent(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
