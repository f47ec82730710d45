import { fieldOf } from '../../kernel/grpc/wire.ts'
import type { ContentStore } from '../mirror/content.ts'
import type { ContainerdImages } from './containerd-images.ts'
import type { Keeper } from './keeper.ts'

export interface ReclaimOptions {
  readonly keeper: Pick<Keeper, 'dispute' | 'disputed'>
  readonly images: Pick<ContainerdImages, 'get' | 'setTarget' | 'contentLabels'>
  readonly store: Pick<ContentStore, 'read'>
}

/**
 * Gives a name to the image that was built under it, where it means another one by now: another build of the name has
 * ended at the same moment, or the name was put back before anybody knew who had built it. The other one is kept for a
 * while, as its own build may still claim the name with a newer version. Nothing happens when the image was collected.
 */
export async function reclaim({ keeper, images, store }: ReclaimOptions, name: string, digest: string): Promise<void> {
  const here = await images.get(name)
  if (!here || here.digest === digest) return
  const target = keeper.disputed(digest) ?? (await descriptor(store, digest))
  if (!target) return
  await keeper.dispute([here, { digest, target }])
  // Held from now on: what is here stays.
  if ((await images.contentLabels(digest)) !== undefined) await images.setTarget(name, target)
}

/** As the exporter wrote it, but for its annotations. Field numbers: containerd's api/types/descriptor.proto. */
async function descriptor(store: Pick<ContentStore, 'read'>, digest: string): Promise<Uint8Array | undefined> {
  const content = await store.read(digest).catch(() => undefined)
  if (!content) return undefined
  const { mediaType } = JSON.parse(content.toString()) as { mediaType?: unknown }
  if (typeof mediaType !== 'string') return undefined
  return Buffer.concat([fieldOf(1, mediaType), fieldOf(2, digest), fieldOf(3, content.length)])
}
