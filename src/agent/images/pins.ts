import { group } from '../../api/names.ts'
import { repositoryOf } from '../../buildkit/reference.ts'
import type { ContainerdImages } from './containerd-images.ts'
import type { PinReason } from './plan-pins.ts'
import type { ImageRecord, NodeImage } from './record.ts'

/** The CRI plug-in's label: its image list then says "pinned", and the kubelet and `crictl rmi --prune` leave it alone. */
export const pinLabel = 'io.cri-containerd.pinned'
/** Ours beside it: says that we set the pin, and why. Others' pins are never taken away. */
export const reasonLabel = `${group}/pinned`

/** The label changes that make the node's names carry these pins. */
export function pinChanges(
  images: Iterable<NodeImage>,
  pins: ReadonlyMap<string, PinReason>,
): { readonly image: NodeImage; readonly labels: Readonly<Record<string, string>> }[] {
  return [...images].flatMap((image) => {
    const { name, labels } = image
    const wanted = pins.get(name)
    const ours = labels[reasonLabel]
    if (wanted === undefined)
      return ours === undefined ? [] : [{ image, labels: { [pinLabel]: '', [reasonLabel]: '' } }]
    if (ours === wanted && labels[pinLabel] === 'pinned') return []
    // Somebody else's pin stays his.
    if (ours === undefined && labels[pinLabel] === 'pinned') return []
    return [{ image, labels: { [pinLabel]: 'pinned', [reasonLabel]: wanted } }]
  })
}

/**
 * On the CRI plug-in's `repository@digest` beside a built image that was pulled: insitu built this digest. The tag and its
 * record go to the next build, and nothing else would tell the disk's budget whose image that was.
 */
export const builtLabel = `${group}/built`

/** The label changes that say of the digests of these records that insitu built them. */
export function builtChanges(
  images: ReadonlyMap<string, NodeImage>,
  records: Iterable<Pick<ImageRecord, 'name' | 'digest'>>,
): { readonly image: NodeImage; readonly labels: Readonly<Record<string, string>> }[] {
  return [...records].flatMap(({ name, digest }) => {
    const image = images.get(`${repositoryOf(name)}@${digest}`)
    return !image || builtLabel in image.labels ? [] : [{ image, labels: { [builtLabel]: 'true' } }]
  })
}

/** Takes our pins and what else we say of them off every image of the namespace. @returns how many were pinned. */
export async function unpinAll(images: ContainerdImages): Promise<number> {
  const all = await images.list()
  const changes = pinChanges(all, new Map())
  const said = all.filter(({ labels }) => builtLabel in labels)
  for (const { image, labels } of changes) await images.setLabels(image, labels)
  for (const image of said) await images.setLabels(image, { [builtLabel]: '' })
  return changes.length
}
