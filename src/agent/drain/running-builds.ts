import { grpcConnection } from '../../kernel/grpc/connection.ts'
import { fieldOf, integer } from '../../kernel/grpc/wire.ts'

/** Numbers of fields: BuildKit's api/services/control/control.proto, BuildHistoryRequest and BuildHistoryEvent. */
const request = Buffer.concat([fieldOf(1, 1), fieldOf(3, 1)])

/** How many builds a daemon works on. @param timeout milliseconds. @throws InsituError GRPC_CALL_FAILED */
export async function runningBuilds(socket: string, timeout?: number): Promise<number> {
  const connection = grpcConnection(socket)
  try {
    let running = 0
    const call = { method: '/moby.buildkit.v1.Control/ListenBuildHistory', request, timeout }
    await connection.stream(call, (event) => {
      // STARTED, which is 0.
      if (integer(event, 1) === 0) running++
    })
    return running
  } finally {
    connection.close()
  }
}
