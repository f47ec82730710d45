import { grpcConnection } from '../../kernel/grpc/connection.ts'
import { fieldOf, integer } from '../../kernel/grpc/wire.ts'

/** Numbers of fields: BuildKit's api/services/control/control.proto, BuildHistoryRequest and BuildHistoryEvent. */
const request = Buffer.concat([fieldOf(1, 1), fieldOf(3, 1)])

/** How many builds a daemon works on. @throws InsituError GRPC_CALL_FAILED */
export async function runningBuilds(socket: string): Promise<number> {
  const connection = grpcConnection(socket)
  try {
    let running = 0
    await connection.stream({ method: '/moby.buildkit.v1.Control/ListenBuildHistory', request }, (event) => {
      // STARTED, which is 0.
      if (integer(event, 1) === 0) running++
    })
    return running
  } finally {
    connection.close()
  }
}
