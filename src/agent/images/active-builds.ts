import { normalizeReference } from '../../buildkit/reference.ts'
import { fieldOf, integer, messages, string, stringMap } from '../../kernel/grpc/wire.ts'
import { listenHistory } from '../buildkitd/listen-history.ts'

/**
 * Names that builds in progress will write or have written: BuildKit names an image before it exports the cache, so a
 * build may go on for minutes after that. Field numbers: BuildKit v0.33.1, api/services/control/control.proto.
 * @throws InsituError GRPC_CALL_FAILED
 */
export async function namesBeingBuilt(socket: string): Promise<Set<string>> {
  const names = new Map<string, readonly string[]>()
  // BuildHistoryRequest: ActiveOnly, EarlyExit.
  const request = Buffer.concat([fieldOf(1, 1), fieldOf(3, 1)])
  await listenHistory(socket, request, (event) => {
    const [record] = messages(event, 2)
    if (!record) return
    // STARTED is 0; a build that ended meanwhile says COMPLETE.
    if (integer(event, 1) === 0) names.set(string(record, 1), namesInRecord(record))
    else names.delete(string(record, 1))
  })
  return new Set([...names.values()].flat())
}

/** Names that a build gives to images, by the daemon's record of it. */
export const namesInRecord = (record: Uint8Array): string[] =>
  messages(record, 4).flatMap((exporter) => (stringMap(exporter, 2)['name']?.split(',') ?? []).flatMap(normalized))

function normalized(name: string): string[] {
  try {
    return [normalizeReference(name.trim())]
  } catch {
    return []
  }
}
