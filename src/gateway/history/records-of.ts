import { daemonRequestFor, decodeHistoryEvent } from '../../buildkit/history.ts'
import type { BuildHistoryRecord } from '../../buildkit/gen/control_pb.ts'
import { paths } from '../../buildkit/methods.ts'
import { messagesFrom } from '../relay/messages.ts'
import type { Upstream } from '../relay/upstream.ts'

/**
 * What a daemon has written down of one build so far.
 * @returns its record with the `historyEvent` that it is told as. Throws as messagesFrom does.
 */
export async function* recordsOf(
  upstream: Upstream,
  ref: string,
  signal: AbortSignal,
): AsyncGenerator<{ readonly type: number; readonly record: BuildHistoryRecord }> {
  for await (const message of messagesFrom(upstream, paths.listenBuildHistory, daemonRequestFor(ref), signal)) {
    const { type, record } = decodeHistoryEvent(message)
    // It says besides what else runs.
    if (record?.ref === ref) yield { type, record }
  }
}
