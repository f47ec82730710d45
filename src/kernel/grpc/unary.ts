import { type GrpcCall, grpcConnection } from './connection.ts'

export interface UnaryCall extends GrpcCall {
  /** Path of a unix socket. */
  readonly socket: string
}

/**
 * One unary gRPC call over a unix socket on a connection of its own: made for a question now and then.
 * @returns the encoded response.
 * @throws InsituError GRPC_CALL_FAILED with the call's status; UNAVAILABLE when nobody answers in time.
 */
export async function unary(call: UnaryCall): Promise<Uint8Array> {
  const connection = grpcConnection(call.socket)
  try {
    return await connection.unary(call)
  } finally {
    connection.close()
  }
}
