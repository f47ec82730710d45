import { group } from '../../api/names.ts'
import type { ContainerdImages } from './containerd-images.ts'
import type { PinReason } from './plan-pins.ts'
import type { NodeImage } from './record.ts'

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

/** Takes our pins off every image of the namespace. @returns how many. */
export async function unpinAll(images: ContainerdImages): Promise<number> {
  const changes = pinChanges(await images.list(), new Map())
  for (const { image, labels } of changes) await images.setLabels(image, labels)
  return changes.length
}
