import { create, toBinary } from '@bufbuild/protobuf'
import { contentPaths, readData, readRequest } from '../../buildkit/content.ts'
import { SolveResponseSchema } from '../../buildkit/gen/control_pb.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { Call } from '../relay/context.ts'
import { messagesFrom } from '../relay/messages.ts'
import { type Descriptor, type ImageIndex, isIndex, type PartImage } from './image-index.ts'
import type { BuildPart, SplitOutput } from './split-build.ts'

/** Bytes; registries accept no larger index either. */
const largestIndex = 4 << 20

/**
 * What a part's exporter says it has made, with the manifests of its index, read from its daemon.
 * @param pushed reads it where it was pushed to: what a node does not keep may be collected at any time.
 * @throws InsituError NO_IMAGE when it does not say, DAEMON_CALL.
 */
export async function readPartImage(
  call: Call,
  part: BuildPart,
  response: Readonly<Record<string, string>>,
  signal: AbortSignal,
  pushed?: (index: Descriptor) => Promise<string>,
): Promise<PartImage> {
  const node = part.node.name
  const descriptor = descriptorOf(response['containerimage.descriptor'])
  if (!descriptor || descriptor.size > largestIndex) {
    throw new InsituError('NO_IMAGE', `node ${node}: its daemon does not say which image it has made`, {
      status: 'INTERNAL',
    })
  }
  const image = { node, platforms: part.platforms, descriptor }
  if (!isIndex(descriptor.mediaType)) return { ...image, manifests: undefined }
  const text = await readContent(call, part, descriptor.digest, signal).catch((error: unknown) => {
    const collected = error instanceof InsituError && error.status === 'NOT_FOUND'
    if (collected && pushed) return pushed(descriptor)
    throw error
  })
  const { manifests } = JSON.parse(text) as { manifests?: unknown }
  return { ...image, manifests: Array.isArray(manifests) ? manifests.filter(isDescriptor) : [] }
}

async function readContent(call: Call, { node }: BuildPart, digest: string, signal: AbortSignal): Promise<string> {
  const upstream = await call.upstreams.to(node, true)
  const chunks: Uint8Array[] = []
  for await (const message of messagesFrom(upstream, contentPaths.read, readRequest(digest), signal)) {
    chunks.push(readData(message))
  }
  return Buffer.concat(chunks).toString('utf8')
}

function descriptorOf(encoded: string | undefined): Descriptor | undefined {
  if (encoded === undefined) return undefined
  try {
    const value: unknown = JSON.parse(Buffer.from(encoded, 'base64').toString('utf8'))
    return isDescriptor(value) ? value : undefined
  } catch {
    return undefined
  }
}

function isDescriptor(value: unknown): value is Descriptor {
  const { mediaType, digest, size } = (value ?? {}) as Record<string, unknown>
  return typeof mediaType === 'string' && typeof digest === 'string' && typeof size === 'number'
}

/** The answer to the client's Solve: what the first part says, with the image being the index of all. */
export function mergedResponse(
  responses: readonly Readonly<Record<string, string>>[],
  output: SplitOutput,
  index: ImageIndex | undefined,
): Uint8Array {
  const exporterResponse: Record<string, string> = { ...responses[0] }
  if (index && output.kind !== 'none') {
    const { mediaType, digest, bytes } = index
    const descriptor = JSON.stringify({ mediaType, digest, size: bytes.length })
    exporterResponse['containerimage.digest'] = digest
    exporterResponse['containerimage.descriptor'] = Buffer.from(descriptor).toString('base64')
    if (output.names.length > 0) exporterResponse['image.name'] = output.names.join(',')
    // An index has none; BuildKit leaves it out too.
    delete exporterResponse['containerimage.config.digest']
  }
  return toBinary(SolveResponseSchema, create(SolveResponseSchema, { exporterResponse }))
}
