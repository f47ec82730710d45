import { fieldOf, integer } from '../../kernel/grpc/wire.ts'
import { listenHistory } from '../buildkitd/listen-history.ts'

/** Numbers of fields: BuildKit's api/services/control/control.proto, BuildHistoryRequest and BuildHistoryEvent. */
const request = Buffer.concat([fieldOf(1, 1), fieldOf(3, 1)])

/** How many builds a daemon works on. @param timeout milliseconds. @throws InsituError GRPC_CALL_FAILED */
export async function runningBuilds(socket: string, timeout?: number): Promise<number> {
  let running = 0
  const count = (event: Uint8Array): void => {
    // STARTED, which is 0.
    if (integer(event, 1) === 0) running++
  }
  await listenHistory(socket, request, count, timeout)
  return running
}
