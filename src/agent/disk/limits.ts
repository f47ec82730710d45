import type { DiskConfig } from '../../api/agent-config.ts'
import type { FileSystemLimits, Marks } from '../../api/disk.ts'

/** Something of a file system: a share from 0 to 1, or a number (bytes, inodes). */
export type Quantity = { readonly share: number } | { readonly count: number }

/** Where the kubelet begins to delete images and to evict pods. */
export interface KubeletThresholds {
  /** Used share of the bytes at which it deletes images (imageGCHighThresholdPercent). */
  readonly imageGcHigh: number
  /** Free bytes and inodes below which it evicts (evictionHard: nodefs and imagefs; the stricter counts). */
  readonly freeBytes: readonly Quantity[]
  readonly freeInodes: readonly Quantity[]
}

/** The kubelet's defaults for Linux: pkg/kubelet/apis/config/v1beta1/defaults.go and pkg/kubelet/eviction. */
export const kubeletDefaults: KubeletThresholds = {
  imageGcHigh: 0.85,
  freeBytes: [{ share: 0.1 }, { share: 0.15 }],
  freeInodes: [{ share: 0.05 }, { share: 0.05 }],
}

/** Of a machine whose disk no kubelet watches. */
const noKubelet: KubeletThresholds = { imageGcHigh: 1, freeBytes: [], freeInodes: [] }

/** Between our high mark and the kubelet's threshold, as a share of the file system: what a build may write meanwhile. */
const margin = 0.05
/** Between high and low, so that one collection lasts a while. */
const hysteresis = 0.1

/**
 * The marks of one file system. The limit is the kubelet's threshold; a high mark that was configured at or above it is
 * lowered to one percent below it.
 * @param total of the file system; 0 inodes: it has no fixed number, and no limit.
 */
export function limitsOf(
  total: { readonly bytes: number; readonly inodes: number },
  kubelet: KubeletThresholds,
  config: DiskConfig,
): FileSystemLimits {
  const { imageGcHigh, freeBytes, freeInodes } = config.followKubelet === false ? noKubelet : kubelet
  const gc = { share: 1 - imageGcHigh }
  return {
    bytes: marks(total.bytes, [...freeBytes, gc], config.highPercent, config.lowPercent),
    inodes: marks(total.inodes, freeInodes, config.inodesHighPercent, config.inodesLowPercent),
  }
}

function marks(total: number, free: readonly Quantity[], highPercent?: number, lowPercent?: number): Marks {
  if (total === 0) return { low: Infinity, high: Infinity, limit: Infinity }
  const counts = free.map((one) => ('share' in one ? one.share * total : one.count))
  const limit = Math.max(0, Math.floor(total - Math.max(0, ...counts)))
  const asked = highPercent === undefined ? limit - margin * total : (highPercent / 100) * total
  const high = Math.max(0, Math.floor(Math.min(asked, limit - 0.01 * total)))
  const lowest = lowPercent === undefined ? high - hysteresis * total : (lowPercent / 100) * total
  return { low: Math.max(0, Math.floor(Math.min(lowest, high))), high, limit }
}
