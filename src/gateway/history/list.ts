import { InsituError } from '../../kernel/errors.ts'
import {
  askedDifferently,
  decodeHistoryEvent,
  decodeHistoryRequest,
  encodeHistoryEvent,
  historyByFilter,
  historyEvent,
  newestFirst,
  nodeHeader,
  provenanceWithProxies,
  recordBlobs,
  recordOwner,
  timestampHeader,
} from '../../buildkit/history.ts'
import type { BuildHistoryEvent, BuildHistoryRequest } from '../../buildkit/gen/control_pb.ts'
import { paths } from '../../buildkit/methods.ts'
import { readBody, unframe } from '../../kernel/grpc/framing.ts'
import type { BuildNode } from '../directory/directory.ts'
import type { Call, RelayContext } from '../relay/context.ts'
import { header } from '../relay/headers.ts'
import { messagesFrom } from '../relay/messages.ts'
import { askNodes, type Answers } from './ask.ts'
import { type Deliver, followNodes } from './follow.ts'
import { historyPatience } from './locate.ts'
import { renameProvenance } from './provenance.ts'
import { openReply, type Reply } from '../relay/reply.ts'
import { maySee, viewerOf, type Viewer } from './viewer.ts'

/**
 * Control/ListenBuildHistory: the histories of all nodes as one, with the builds of who asks. Which node a record is
 * on stands in its attribute `insitu.node`.
 */
export async function answerHistory(context: RelayContext, call: Call): Promise<void> {
  const request = decodeHistoryRequest(unframe(await readBody(call.stream, call.messages)))
  if (request.limit < 0) {
    throw new InsituError('HISTORY_LIMIT', `invalid limit ${request.limit}`, { status: 'INVALID_ARGUMENT' })
  }
  const viewer = viewerOf(context, call.caller)
  let opened: Reply | undefined
  const reply = (): Reply =>
    (opened ??= openReply(call.stream, call.signal, { [timestampHeader]: context.now().toISOString() }))
  const deliver: Deliver = async (event, node, patience) => {
    const { record } = event
    // A record that is deleted has nothing in it but its ref, which is a name chosen at random.
    if (event.type !== historyEvent.deleted) {
      if (!record || !maySee(viewer, recordOwner(record))) return
      for (const { digest, mediaType } of recordBlobs(record)) {
        context.blobs.note(viewer.owner, digest, { node, mediaType })
      }
      const daemon = provenanceWithProxies(record).length > 0 ? context.directory.node(node) : undefined
      if (daemon) {
        const upstream = await call.upstreams.to(daemon, true)
        await renameProvenance(context, upstream, viewer, record, call.signal)
      }
    }
    const sent = reply().send(encodeHistoryEvent(event, node))
    await (patience?.pause(sent) ?? sent)
  }
  if (request.earlyExit) {
    const { answers, missing, refusal } = await listNow(context, call, request, viewer, deliver)
    // Of one build: the node that has it may say that it is being deleted.
    if (request.ref !== '' && refusal && !answers.some(({ value }) => value > 0)) throw refusal
    return reply().end(missing)
  }
  const following = followNodes(context, call, request, deliver)
  reply()
  if (!request.activeOnly) {
    const past: Deliver = (event, ...from) =>
      event.type === historyEvent.started || following.toldOf(event) ? Promise.resolve() : deliver(event, ...from)
    await listNow(context, call, { ...request, earlyExit: true }, viewer, past)
  }
  await following.ended
}

/** In a large cluster it matters: every Build asks for its record at its end. */
function askedNode(context: RelayContext, call: Call): { readonly nodes?: readonly BuildNode[] } {
  const name = header(call.raw, nodeHeader)
  const node = name === undefined ? undefined : context.directory.node(name)
  return node === undefined ? {} : { nodes: [node] }
}

/** What is there now. With a limit the newest of all nodes, else as they come. @returns how many events each node had. */
async function listNow(
  context: RelayContext,
  call: Call,
  request: BuildHistoryRequest,
  viewer: Viewer,
  deliver: Deliver,
): Promise<Answers<number>> {
  // A daemon would count builds of others, too.
  const question = askedDifferently(historyByFilter(request), viewer.all ? {} : { limit: 0 })
  let newest: { event: BuildHistoryEvent; node: string }[] = []
  const result = await askNodes(
    context,
    call,
    async (upstream, node, signal, patience) => {
      let events = 0
      for await (const message of messagesFrom(upstream, paths.listenBuildHistory, question, signal)) {
        patience.renew()
        const event = decodeHistoryEvent(message)
        if (request.ref !== '' && event.record?.ref !== request.ref) continue
        events++
        if (request.limit === 0 || event.type === historyEvent.started) {
          await deliver(event, node.name, patience)
        } else if (event.record && maySee(viewer, recordOwner(event.record))) {
          newest.push({ event, node: node.name })
          newest = newest.toSorted((a, b) => newestFirst(a.event, b.event)).slice(0, request.limit)
        }
      }
      return events
    },
    { patience: context.patience ?? historyPatience, ...askedNode(context, call) },
  )
  for (const { event, node } of newest) await deliver(event, node)
  return result
}
