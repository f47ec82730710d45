import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { DiskUsageResponseSchema, UsageRecordSchema } from '../../buildkit/gen/control_pb.ts'
import { paths } from '../../buildkit/methods.ts'
import { InsituError } from '../../kernel/errors.ts'
import { readBody, unframe } from '../../kernel/grpc/framing.ts'
import { status } from '../../kernel/grpc/status.ts'
import type { Call, RelayContext } from '../relay/context.ts'
import { messagesFrom } from '../relay/messages.ts'
import { unaryUpstream } from '../relay/unary.ts'
import { askNodes, type Missing } from './ask.ts'
import { openReply } from '../relay/reply.ts'
import { viewerOf } from './viewer.ts'

/** Milliseconds for a node to add up its cache, which a large one on a slow disk needs, and for the next record of a prune. */
const patience = { usage: 120_000, prune: 600_000 }

/**
 * Control/DiskUsage: the records of all nodes. Cache belongs to nobody, but the steps it describes are somebody's: only
 * administrators read the descriptions.
 */
export async function answerDiskUsage(context: RelayContext, call: Call): Promise<void> {
  const request = unframe(await readBody(call.stream, call.messages))
  const viewer = viewerOf(context, call.caller)
  const { answers, missing } = await askNodes(
    context,
    call,
    (upstream, _, signal) => unaryUpstream(upstream, paths.diskUsage, request, signal, patience.usage),
    { patience: context.patience ?? patience.usage },
  )
  // The encoding of a repeated field: one answer after the other is the answer with all records.
  const all = Buffer.concat([...answers.map(({ value }) => value), sayMissing(missing)])
  const reply = openReply(call.stream, call.signal)
  await reply.send(viewer.all ? all : withoutDescriptions(all))
  reply.end(missing)
}

/** Clients show records and nothing else of an answer that is a success. */
const sayMissing = (missing: readonly Missing[]): Uint8Array =>
  toBinary(
    DiskUsageResponseSchema,
    create(DiskUsageResponseSchema, {
      record: missing.map(({ node, reason }) => ({ id: `[insitu] node ${node} is missing`, description: reason })),
    }),
  )

function withoutDescriptions(response: Uint8Array): Uint8Array {
  const { record } = fromBinary(DiskUsageResponseSchema, response)
  const bare = record.map((one) => create(UsageRecordSchema, { ...one, description: '' }))
  return toBinary(DiskUsageResponseSchema, create(DiskUsageResponseSchema, { record: bare }))
}

/** Control/Prune on every node, for administrators. Ends with an error when a node was not pruned: clients show it. */
export async function answerPrune(context: RelayContext, call: Call): Promise<void> {
  const request = unframe(await readBody(call.stream, call.messages))
  context.admission.administer(call.caller, 'Prune')
  const reply = openReply(call.stream, call.signal)
  const result = await askNodes(
    context,
    call,
    async (upstream, _, signal, { pause }) => {
      for await (const record of messagesFrom(upstream, paths.prune, request, signal)) await pause(reply.send(record))
    },
    { patience: context.patience ?? patience.prune },
  ).catch((error: unknown) => {
    if (!(error instanceof InsituError)) throw error
    return { missing: [] as readonly Missing[], refusal: error }
  })
  const { missing, refusal } = result
  if (refusal) return reply.end(missing, status(refusal.status, refusal.message))
  if (missing.length === 0) return reply.end()
  const reasons = missing.map(({ reason }) => reason).join('; ')
  reply.end(missing, status('UNAVAILABLE', `the other nodes are pruned, ${missing.length} not: ${reasons}`))
}
