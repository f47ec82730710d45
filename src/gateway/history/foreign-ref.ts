import { recordOwner } from '../../buildkit/history.ts'
import { describeError } from '../../kernel/errors.ts'
import type { Call, RelayContext } from '../relay/context.ts'
import type { Upstream } from '../relay/upstream.ts'
import { recordsOf } from './records-of.ts'
import { unknownBuild } from './update.ts'
import { maySee, viewerOf } from './viewer.ts'

/** Milliseconds for the daemon to look into its history. */
const patience = 5000

/**
 * A ref that a daemon has a build of already, through another gateway, is the name of somebody's build: with a Solve of
 * that ref here, which the daemon refuses only then, calls for the build would reach the other one.
 * @throws InsituError BUILD_UNKNOWN (NOT_FOUND) when that build is not the caller's.
 */
export async function checkForeignRef(
  context: RelayContext,
  call: Call,
  upstream: Upstream,
  ref: string,
): Promise<void> {
  if (!context.config.recordOwner) return
  const viewer = viewerOf(context, call.caller)
  if (viewer.all) return
  const signal = AbortSignal.any([call.signal, AbortSignal.timeout(patience)])
  let foreign = false
  try {
    for await (const { record } of recordsOf(upstream, ref, signal)) {
      if (!maySee(viewer, recordOwner(record))) foreign = true
    }
  } catch (error) {
    // A daemon without a history, or a slow one: it still refuses a ref that it has.
    context.logger.debug({ node: upstream.node, err: describeError(error) }, 'a daemon does not say whose a ref is')
  }
  if (foreign) throw unknownBuild(ref, '')
}
