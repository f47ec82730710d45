import { paths } from '../../buildkit/methods.ts'
import { InsituError } from '../../kernel/errors.ts'
import { fieldCutter } from '../../kernel/grpc/field-cutter.ts'
import { readBody, unframe } from '../../kernel/grpc/framing.ts'
import { status } from '../../kernel/grpc/status.ts'
import type { Call, RelayContext } from '../relay/context.ts'
import { messagesFrom } from '../relay/messages.ts'
import { askNodes, type Missing } from './ask.ts'
import { openReply } from '../relay/reply.ts'
import { createUsage } from './usage.ts'
import { viewerOf } from './viewer.ts'

/** Milliseconds for a node to add up its cache, which a large one on a slow disk needs, and for the next record of a prune. */
const patience = { usage: 120_000, prune: 600_000 }

/** Most bytes of what one daemon says: its own limit, and that of its clients. */
const answerLimit = 16 << 20

/** DiskUsageResponse.record */
const recordField = 1

/**
 * Control/DiskUsage: the records of all nodes. Cache belongs to nobody, but the steps it describes are somebody's: only
 * administrators read the descriptions.
 */
export async function answerDiskUsage(context: RelayContext, call: Call): Promise<void> {
  const request = unframe(await readBody(call.stream, call.messages))
  const viewer = viewerOf(context, call.caller)
  const usage = createUsage({ descriptions: viewer.all })
  const { missing } = await askNodes(
    context,
    call,
    async (upstream, node, signal, { renew }) => {
      const deframer = fieldCutter(recordField, answerLimit)
      const records = messagesFrom(upstream, paths.diskUsage, request, signal, { deframer })
      for await (const record of records) {
        renew()
        usage.add(node.name, record)
      }
    },
    { patience: context.patience ?? patience.usage },
  )
  for (const { node } of missing) usage.forget(node)
  const reply = openReply(call.stream, call.signal)
  await reply.send(usage.answer(missing))
  reply.end(missing)
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
