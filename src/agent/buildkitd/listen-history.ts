import { grpcConnection } from '../../kernel/grpc/connection.ts'

/**
 * What a daemon tells of its builds until it has told all.
 * @param request BuildHistoryRequest with EarlyExit (BuildKit's api/services/control/control.proto).
 * @param onEvent gets each BuildHistoryEvent.
 * @param timeout milliseconds.
 * @throws InsituError GRPC_CALL_FAILED
 */
export async function listenHistory(
  socket: string,
  request: Uint8Array,
  onEvent: (event: Uint8Array) => void,
  timeout?: number,
): Promise<void> {
  const connection = grpcConnection(socket)
  try {
    await connection.stream({ method: '/moby.buildkit.v1.Control/ListenBuildHistory', request, timeout }, onEvent)
  } finally {
    connection.close()
  }
}
