import { historyEvent } from '../../buildkit/history.ts'
import type { BuildHistoryRecord } from '../../buildkit/gen/control_pb.ts'
import type { Upstream } from '../relay/upstream.ts'
import { recordsOf } from './records-of.ts'

/** Milliseconds for a daemon to look into its history. */
const patience = 10_000

/**
 * What a daemon has written down of a build that has just ended: it does so before it answers Solve.
 * @returns undefined when it has nothing. Rejects when it does not answer.
 */
export async function endedRecord(
  upstream: Upstream,
  ref: string,
  signal: AbortSignal,
): Promise<BuildHistoryRecord | undefined> {
  const both = AbortSignal.any([signal, AbortSignal.timeout(patience)])
  let found: BuildHistoryRecord | undefined
  for await (const { type, record } of recordsOf(upstream, ref, both)) {
    if (type === historyEvent.complete) found = record
  }
  return found
}
