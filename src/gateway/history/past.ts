import { describeError } from '../../kernel/errors.ts'
import { status, statusOf } from '../../kernel/grpc/status.ts'
import type { Hold } from '../correlate/bindings.ts'
import { type Build, type Call, type RelayContext } from '../relay/context.ts'
import { pump } from '../relay/pump.ts'
import { openReply } from '../relay/reply.ts'
import { patience } from '../relay/tuning.ts'
import { relayParts } from '../split/relay-status.ts'
import { logMissing } from './ask.ts'
import { locate } from './locate.ts'
import { unknownBuild } from './update.ts'
import { viewerOf } from './viewer.ts'

/** Milliseconds after which a ref that nobody has solved yet is looked for in the histories. */
const moment = 300

/**
 * The build that a Status asks for. One that ended long ago, or that another gateway relays, is found in the history
 * of its node, or of the nodes of its platforms, and answered from there.
 * @returns undefined when that was done, or when the client is gone.
 * @throws InsituError BUILD_UNKNOWN
 */
export async function runningBuild(
  context: RelayContext,
  call: Call,
  ref: string,
  body: Uint8Array,
): Promise<Hold<Build> | undefined> {
  const known = await context.builds.wait(ref, moment, call.signal)
  if (known || call.signal.aborted) return known
  const { nodes, parts, missing } = await locate(context, call, ref, viewerOf(context, call.caller))
  if (parts.length > 0) {
    const failed = await relayParts(call, parts, ref)
    const silent = failed.map(({ node, error }) => ({ node, reason: describeError(error) }))
    if (!call.signal.aborted) logMissing(context, call, silent)
    const how = failed.length === parts.length ? statusOf(failed[0]?.error) : status('OK', '')
    openReply(call.stream, call.signal).end([...missing, ...silent], how)
    return undefined
  }
  const [node] = nodes
  if (node) {
    const upstream = await call.upstreams.to(node)
    await pump(call.stream, upstream.request(call.raw), { body, lost: () => upstream.whyLost() })
    return undefined
  }
  const late = await context.builds.wait(ref, patience, call.signal)
  if (late || call.signal.aborted) return late
  throw unknownBuild(ref, missing.map((one) => one.node).join(', '))
}
