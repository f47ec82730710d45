import {
  askedDigest,
  askedOf,
  childrenOf,
  contentPaths,
  namesOthers,
  readData,
  readRequest,
} from '../../buildkit/content.ts'
import { decodeHistoryEvent, everyRecord, recordBlobs, recordOwner } from '../../buildkit/history.ts'
import { attestationType } from '../../buildkit/provenance.ts'
import { paths } from '../../buildkit/methods.ts'
import { describeError, InsituError } from '../../kernel/errors.ts'
import { frame, readBody, unframe } from '../../kernel/grpc/framing.ts'
import type { Call, RelayContext } from '../relay/context.ts'
import { messagesFrom } from '../relay/messages.ts'
import { pump } from '../relay/pump.ts'
import type { Upstream } from '../relay/upstream.ts'
import { askNodes, type Patience } from './ask.ts'
import type { KnownBlob } from './blobs.ts'
import { historyPatience } from './locate.ts'
import { answerProvenance, renameProvenance } from './provenance.ts'
import { maySee, viewerOf, type Viewer } from './viewer.ts'

/** Most bytes of an index or manifest that is read to see what it names. OCI registries accept no more either. */
const manifestLimit = 4 << 20

/**
 * containerd's Content service, which on a daemon shows every blob of its node: here Info and Read of what builds of
 * this caller returned, and nothing else; never a list.
 */
export async function answerContent(context: RelayContext, call: Call): Promise<void> {
  if (call.path !== contentPaths.info && call.path !== contentPaths.read) {
    throw new InsituError('CONTENT_CLOSED', 'content can be read by its digest only, by who built it', {
      status: 'PERMISSION_DENIED',
    })
  }
  const message = unframe(await readBody(call.stream, call.messages))
  const digest = askedDigest(message)
  const viewer = viewerOf(context, call.caller)
  const blob = context.blobs.find(viewer.owner, digest) ?? (await search(context, call, digest, viewer))
  const node = blob && context.directory.node(blob.node)
  if (!node) {
    // The message begins as containerd's: clients look for a blob in several places and know this one by its status.
    throw new InsituError('CONTENT_UNKNOWN', `content ${digest}: not found in what builds of yours returned`, {
      status: 'NOT_FOUND',
    })
  }
  const upstream = await call.upstreams.to(node)
  if (call.path === contentPaths.read && blob.mediaType === attestationType) {
    return answerProvenance(call, upstream, message, blob.original ?? digest)
  }
  const body = frame(askedOf(call.path, message, blob.original ?? digest))
  await pump(call.stream, upstream.request(call.raw), { body, lost: () => upstream.whyLost() })
}

/** Looks through the records of the viewer's builds, and through what the images in them name. */
async function search(
  context: RelayContext,
  call: Call,
  digest: string,
  viewer: Viewer,
): Promise<KnownBlob | undefined> {
  const request = everyRecord()
  const { answers } = await askNodes(
    context,
    call,
    async (upstream, node, signal, patience) => {
      const images = new Map<string, number>()
      for await (const message of messagesFrom(upstream, paths.listenBuildHistory, request, signal)) {
        patience.renew()
        const { record } = decodeHistoryEvent(message)
        if (!record || !maySee(viewer, recordOwner(record))) continue
        for (const blob of recordBlobs(record)) {
          context.blobs.note(viewer.owner, blob.digest, { node: node.name, mediaType: blob.mediaType })
          if (namesOthers(blob.mediaType)) images.set(blob.digest, Number(blob.size))
        }
        await renameProvenance(context, upstream, viewer, record, signal)
      }
      if (context.blobs.find(viewer.owner, digest)) return
      await lookInto(context, upstream, images, viewer, { signal, patience })
    },
    { patience: context.patience ?? historyPatience },
  )
  return answers.length > 0 ? context.blobs.find(viewer.owner, digest) : undefined
}

/** Notes everything that the images (digest → bytes) name. */
async function lookInto(
  context: RelayContext,
  upstream: Upstream,
  images: Map<string, number>,
  viewer: Viewer,
  { signal, patience }: { readonly signal: AbortSignal; readonly patience: Patience },
): Promise<void> {
  // Grows while it is walked: an index names manifests, which name layers.
  for (const [digest, size] of images) {
    if (size > manifestLimit) continue
    const chunks: Uint8Array[] = []
    let left = manifestLimit
    try {
      for await (const message of messagesFrom(upstream, contentPaths.read, readRequest(digest), signal)) {
        patience.renew()
        const data = readData(message)
        // What names it may lie about its size. A part of it names nothing.
        if ((left -= data.length) < 0) break
        chunks.push(data)
      }
    } catch (error) {
      signal.throwIfAborted()
      context.logger.debug({ digest, node: upstream.node, err: describeError(error) }, 'a result of a build is gone')
      continue
    }
    for (const child of childrenOf(Buffer.concat(chunks))) {
      context.blobs.note(viewer.owner, child.digest, { node: upstream.node, mediaType: child.mediaType })
      if (namesOthers(child.mediaType)) images.set(child.digest, child.size)
    }
  }
}
