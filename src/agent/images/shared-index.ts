import { createHash } from 'node:crypto'
import type { SharedIndex } from '../../api/images.ts'
import { InsituError } from '../../kernel/errors.ts'
import { fieldOf } from '../../kernel/grpc/wire.ts'
import type { ContainerdImages } from './containerd-images.ts'

/** Bytes; the index of a dozen platforms has five thousand. */
const largest = 256 << 10

/** Tries: containerd may collect the index between its writing and its name. */
const tries = 3

/** @throws InsituError BODY when it is not what its digest says. */
export function parseSharedIndex(value: unknown): SharedIndex | undefined {
  if (value === undefined) return undefined
  const { digest, mediaType, content } = (value ?? {}) as Record<string, unknown>
  const proper =
    typeof digest === 'string' &&
    typeof mediaType === 'string' &&
    typeof content === 'string' &&
    content.length <= largest &&
    `sha256:${createHash('sha256').update(content).digest('hex')}` === digest
  if (proper) return { digest, mediaType, content }
  throw new InsituError('BODY', 'the request has no proper "index"', { status: 'INVALID_ARGUMENT' })
}

/**
 * Points a name at an index of which this node has a part. The manifests that are here are kept by it; the others are
 * on other nodes and are not missed by containerd, which looks for its own platform.
 */
export async function nameIndex(
  images: Pick<ContainerdImages, 'write' | 'contentLabels' | 'setTarget'>,
  name: string,
  { digest, mediaType, content }: SharedIndex,
): Promise<void> {
  const bytes = Buffer.from(content)
  const target = Buffer.concat([fieldOf(1, mediaType), fieldOf(2, digest), fieldOf(3, bytes.length)])
  for (let round = 0; round < tries; round += 1) {
    await images.write(digest, bytes, await childLabels(images, content))
    await images.setTarget(name, target)
    if ((await images.contentLabels(digest)) !== undefined) return
  }
}

/** Labels by which containerd's collector follows an index to its manifests. */
async function childLabels(
  images: Pick<ContainerdImages, 'contentLabels'>,
  content: string,
): Promise<Record<string, string>> {
  const { manifests } = JSON.parse(content) as { manifests?: readonly { readonly digest?: unknown }[] }
  const labels: Record<string, string> = {}
  for (const [i, { digest }] of (manifests ?? []).entries()) {
    if (typeof digest !== 'string' || (await images.contentLabels(digest)) === undefined) continue
    labels[`containerd.io/gc.ref.content.m.${i}`] = digest
  }
  return labels
}
