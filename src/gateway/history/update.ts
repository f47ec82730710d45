import { toBinary } from '@bufbuild/protobuf'
import { decodeBounded } from '../../buildkit/decode.ts'
import { UpdateBuildHistoryRequestSchema } from '../../buildkit/gen/control_pb.ts'
import { paths } from '../../buildkit/methods.ts'
import { InsituError } from '../../kernel/errors.ts'
import { readBody, unframe } from '../../kernel/grpc/framing.ts'
import type { Call, RelayContext } from '../relay/context.ts'
import { unaryUpstream } from '../relay/unary.ts'
import { locate } from './locate.ts'
import { openReply } from '../relay/reply.ts'
import { viewerOf } from './viewer.ts'

/** Milliseconds: deleting a record collects garbage before it answers. */
const patience = 60_000

/**
 * Control/UpdateBuildHistory, where the record is: everybody may delete and complete the records of own builds. To pin
 * one keeps its blobs on the node for ever, which is for administrators. What was deleted a moment ago can be deleted again.
 */
export async function answerUpdateHistory(context: RelayContext, call: Call): Promise<void> {
  const request = decodeBounded(UpdateBuildHistoryRequestSchema, unframe(await readBody(call.stream, call.messages)))
  const viewer = viewerOf(context, call.caller)
  if (!request.delete && !request.finalize) context.admission.administer(call.caller, 'UpdateBuildHistory')
  const { nodes, missing } = await locate(context, call, request.ref, viewer)
  const again = request.delete && context.deleted.has(viewer.owner, request.ref)
  if (nodes.length === 0 && !again) throw unknownBuild(request.ref, missing.map(({ node }) => node).join(', '))
  if (request.delete && nodes.length > 0) context.deleted.note(viewer.owner, request.ref)
  // Anew: in the client's own bytes the daemon could read another ref.
  const message = toBinary(UpdateBuildHistoryRequestSchema, request)
  for (const node of nodes) {
    const upstream = await call.upstreams.to(node)
    await unaryUpstream(upstream, paths.updateBuildHistory, message, call.signal, patience)
  }
  const reply = openReply(call.stream, call.signal)
  await reply.send(new Uint8Array())
  reply.end(missing)
}

/** The same words whether there is no such build or it is somebody else's. */
export function unknownBuild(ref: string, missing: string): InsituError {
  return missing === ''
    ? new InsituError('BUILD_UNKNOWN', `there is no build ${ref} of yours`, { status: 'NOT_FOUND' })
    : new InsituError('BUILD_UNKNOWN', `no build ${ref} of yours is found, and these nodes do not answer: ${missing}`, {
        status: 'UNAVAILABLE',
        fix: 'try again when they do',
      })
}
