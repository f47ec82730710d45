import { createHash } from 'node:crypto'
import { contentPaths, readAnswer, readData, readRequest } from '../../buildkit/content.ts'
import type { BuildHistoryRecord } from '../../buildkit/gen/control_pb.ts'
import { provenanceWithProxies } from '../../buildkit/history.ts'
import { withoutProxiesInside } from '../../buildkit/provenance.ts'
import { describeError, InsituError } from '../../kernel/errors.ts'
import type { Call, RelayContext } from '../relay/context.ts'
import { messagesFrom } from '../relay/messages.ts'
import { openReply } from '../relay/reply.ts'
import type { Upstream } from '../relay/upstream.ts'
import type { Viewer } from './viewer.ts'

/** Most bytes of one document that is held to look at it. One of a build of hundreds of steps has about a megabyte. */
const documentLimit = 64 << 20

/** Answers Content/Read of a provenance document without the proxy variables that daemons write into it. */
export async function answerProvenance(
  call: Call,
  upstream: Upstream,
  request: Uint8Array,
  digest: string,
): Promise<void> {
  const document = await readDocument(upstream, digest, call.signal)
  const pieces = readAnswer(request, document)
  // Before the answer is opened: it throws what the call ends with.
  let piece = pieces.next()
  const reply = openReply(call.stream, call.signal)
  for (; !piece.done; piece = pieces.next()) await reply.send(piece.value)
  reply.end()
}

/**
 * Gives the provenance of a record the digest that it has on its way to clients: they check it. Only of builds with
 * proxies, and read once for each record that is shown.
 */
export async function renameProvenance(
  context: RelayContext,
  upstream: Upstream,
  viewer: Viewer,
  record: BuildHistoryRecord,
  signal: AbortSignal,
): Promise<void> {
  for (const descriptor of provenanceWithProxies(record)) {
    const { digest: original, mediaType } = descriptor
    try {
      const document = await readDocument(upstream, original, signal)
      descriptor.digest = `sha256:${createHash('sha256').update(document).digest('hex')}`
      descriptor.size = BigInt(document.length)
      context.blobs.note(viewer.owner, descriptor.digest, { node: upstream.node, mediaType, original })
    } catch (error) {
      signal.throwIfAborted()
      const fields = { digest: original, node: upstream.node, err: describeError(error) }
      context.logger.debug(fields, 'the provenance of a build cannot be read')
    }
  }
}

/** A provenance document as clients get it. */
async function readDocument(upstream: Upstream, digest: string, signal: AbortSignal): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const message of messagesFrom(upstream, contentPaths.read, readRequest(digest), signal)) {
    const data = readData(message)
    size += data.length
    if (size > documentLimit) {
      throw new InsituError('CONTENT_LARGE', `the document ${digest} has more than ${documentLimit >> 20} MiB`, {
        status: 'RESOURCE_EXHAUSTED',
      })
    }
    chunks.push(data)
  }
  return withoutProxiesInside(Buffer.concat(chunks))
}
