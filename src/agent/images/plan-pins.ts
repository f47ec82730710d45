import { repositoryOf } from '../../buildkit/reference.ts'
import type { ImageRecord, NodeImage } from './record.ts'

/** Why an image is pinned. */
export type PinReason = 'in-use' | 'wanted' | 'newest'

export interface PinInput {
  readonly records: readonly ImageRecord[]
  /** All names of the node, aliases included. */
  readonly images: readonly NodeImage[]
  /** Digests that containers on this node were made from. */
  readonly inUse: ReadonlySet<string>
  /** Digests that insitu built, replaced ones included: what may be pinned at all. */
  readonly ours: ReadonlySet<string>
  /** Names in templates of workloads that may run here. */
  readonly wanted: ReadonlySet<string>
  /** Milliseconds since 1970. */
  readonly now: number
  /** `keepFor` in seconds. */
  readonly config: { readonly keep: number; readonly keepFor: number }
}

/**
 * Decides which names carry containerd's pin: what a container uses, what a workload's template names, and for some
 * days the newest of each repository. Images that insitu did not build are the kubelet's to keep.
 */
export function planPins(input: PinInput): Map<string, PinReason> {
  const pins = new Map<string, PinReason>()
  for (const { name } of newest(input)) pins.set(name, 'newest')
  for (const { name } of input.records) if (input.wanted.has(name)) pins.set(name, 'wanted')
  for (const { name, digest } of input.images) {
    // The CRI plug-in's `sha256:…` names a running container's image even after its tag was built anew.
    if (input.ours.has(digest) && input.inUse.has(digest)) pins.set(name, 'in-use')
  }
  for (const { name, digest } of input.records) if (input.inUse.has(digest)) pins.set(name, 'in-use')
  return pins
}

function newest({ records, now, config }: PinInput): ImageRecord[] {
  const repositories = Map.groupBy(records, ({ name }) => repositoryOf(name))
  return [...repositories.values()].flatMap((group) =>
    group
      .toSorted((a, b) => b.version - a.version)
      .slice(0, config.keep)
      .filter(({ since }) => now - since < config.keepFor * 1000),
  )
}
