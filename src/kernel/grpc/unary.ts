import { connect as connectHttp2, constants } from 'node:http2'
import { connect as connectSocket } from 'node:net'
import { grpcStatus, type GrpcStatus, InsituError } from '../errors.ts'

export interface UnaryCall {
  /** Path of a unix socket. */
  readonly socket: string
  /** `/package.Service/Method`. */
  readonly method: string
  /** The encoded request; default empty. */
  readonly request?: Uint8Array
  readonly metadata?: Readonly<Record<string, string>>
  /** Milliseconds for the whole call. Default 5,000. */
  readonly timeout?: number
}

const nameOf = (code: number): GrpcStatus =>
  (Object.keys(grpcStatus) as GrpcStatus[]).find((name) => grpcStatus[name] === code) ?? 'UNKNOWN'

/**
 * One unary gRPC call over a unix socket on a connection of its own: made for a question now and then.
 * Protocol: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 * @returns the encoded response.
 * @throws InsituError GRPC_CALL_FAILED with the call's status; UNAVAILABLE when nobody answers in time.
 */
export async function unary(call: UnaryCall): Promise<Uint8Array> {
  const fail = (status: GrpcStatus, message: string, cause?: unknown): InsituError =>
    new InsituError('GRPC_CALL_FAILED', `${call.method} on ${call.socket}: ${message}`, { status, cause })
  const request = call.request ?? new Uint8Array()
  const frame = Buffer.alloc(5 + request.length)
  frame.writeUInt32BE(request.length, 1)
  frame.set(request, 5)

  const session = connectHttp2('http://localhost', { createConnection: () => connectSocket(call.socket) })
  let timer: NodeJS.Timeout | undefined
  try {
    return await new Promise<Uint8Array>((resolve, reject) => {
      session.on('error', (error) => reject(fail('UNAVAILABLE', error.message, error)))
      session.on('close', () => reject(fail('UNAVAILABLE', 'the connection was closed')))
      timer = setTimeout(() => reject(fail('UNAVAILABLE', 'no answer in time')), call.timeout ?? 5000)
      const stream = session.request({
        ...call.metadata,
        [constants.HTTP2_HEADER_METHOD]: 'POST',
        [constants.HTTP2_HEADER_PATH]: call.method,
        'content-type': 'application/grpc',
        te: 'trailers',
      })
      const body: Buffer[] = []
      let status: unknown
      let message: unknown
      const note = (headers: Record<string, unknown>): void => {
        status = headers['grpc-status'] ?? status
        message = headers['grpc-message'] ?? message
      }
      stream.on('response', note)
      stream.on('trailers', note)
      stream.on('data', (chunk: Buffer) => body.push(chunk))
      stream.on('error', (error) => reject(fail('UNAVAILABLE', error.message, error)))
      stream.on('end', () => {
        if (status === undefined) return reject(fail('UNAVAILABLE', 'the answer is not gRPC'))
        if (Number(status) !== 0) {
          const sentence = typeof message === 'string' ? decodePercent(message) : nameOf(Number(status))
          return reject(fail(nameOf(Number(status)), sentence))
        }
        const bytes = Buffer.concat(body)
        if (bytes.length < 5 || bytes[0] !== 0) return reject(fail('INTERNAL', 'the answer has no plain message'))
        resolve(bytes.subarray(5, 5 + bytes.readUInt32BE(1)))
      })
      stream.end(frame)
    })
  } finally {
    clearTimeout(timer)
    session.destroy()
  }
}

function decodePercent(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
