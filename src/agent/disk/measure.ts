import { stat, statfs } from 'node:fs/promises'
import type { DiskConfig } from '../../api/agent-config.ts'
import type { FileSystemUse } from '../../api/disk.ts'
import { type KubeletThresholds, limitsOf } from './limits.ts'

/** A directory of ours and what it is for. */
export interface Place {
  readonly holds: 'containerd' | 'buildkit' | 'temporary'
  readonly path: string
}

/** The file systems that hold the places, each once, with its marks. Places that are not there are left out. */
export async function measureFileSystems(
  places: readonly Place[],
  kubelet: KubeletThresholds,
  config: DiskConfig,
): Promise<FileSystemUse[]> {
  const found = new Map<number, { holds: string[]; path: string }>()
  for (const { holds, path } of places) {
    const device = await stat(path).then(
      ({ dev }) => dev,
      () => undefined,
    )
    if (device === undefined) continue
    const known = found.get(device)
    if (known) known.holds.push(holds)
    else found.set(device, { holds: [holds], path })
  }
  return Promise.all(
    [...found.values()].map(async ({ holds, path }) => {
      const { bavail, bsize, blocks, ffree, files } = await statfs(path)
      return {
        holds,
        path,
        // As the kubelet counts: blocks that only root may use are not available.
        bytes: { total: blocks * bsize, used: (blocks - bavail) * bsize },
        inodes: { total: files, used: files - ffree },
        limits: limitsOf({ bytes: blocks * bsize, inodes: files }, kubelet, config),
      }
    }),
  )
}
