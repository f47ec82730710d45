import { existsSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import type { Finding } from '../../api/node-report.ts'

export interface Space {
  readonly path: string
  readonly freeBytes: number
  /** 0 to 1. */
  readonly freeShare: number
  /** 0 to 1; 1 on filesystems without a fixed number of inodes. */
  readonly freeInodes: number
}

export async function measureSpace(path: string): Promise<Space> {
  const { bavail, bsize, blocks, ffree, files } = await statfs(path)
  return {
    path,
    freeBytes: bavail * bsize,
    freeShare: blocks === 0 ? 1 : bavail / blocks,
    freeInodes: files === 0 ? 1 : ffree / files,
  }
}

/** What the file systems of these paths have left; paths that are not there say nothing. */
export async function lookAtSpace(paths: readonly string[]): Promise<Finding[]> {
  const spaces = await Promise.all(paths.filter((path) => existsSync(path)).map(measureSpace))
  return spaces.flatMap(checkSpace)
}

/** Whether a finding is about room on a disk. */
export const isAboutSpace = ({ code }: Finding): boolean => /^(DISK|INODES)_/.test(code)

/** Whether something could not be written for want of blocks, inodes or quota. */
export const isNoRoom = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT')

/**
 * Warns where the kubelet is about to evict pods (its defaults: nodefs 10 %, imagefs 15 %, inodes 5 %), since a build
 * would push the node over it; fatal where a build cannot even start. A daemon may start all the same (supervise.ts).
 */
export function checkSpace(space: Space): Finding[] {
  const percent = (share: number): string => `${(share * 100).toFixed(1)} %`
  const findings: Finding[] = []
  const fix = 'free space on the node: `buildctl prune` in the agent’s pod, `crictl rmi --prune`, or a larger disk'
  if (space.freeBytes < 256 * 2 ** 20) {
    findings.push({ code: 'DISK_FULL', severity: 'fatal', message: `${space.path} has less than 256 MiB left`, fix })
  } else if (space.freeShare < 0.15) {
    const message = `${space.path} has ${percent(space.freeShare)} left; the kubelet evicts pods below 15 %`
    findings.push({ code: 'DISK_LOW', severity: 'warning', message, fix })
  }
  if (space.freeInodes < 0.01) {
    const message = `${space.path} has ${percent(space.freeInodes)} of its inodes left`
    findings.push({ code: 'INODES_EXHAUSTED', severity: 'fatal', message, fix })
  } else if (space.freeInodes < 0.05) {
    const message = `${space.path} has ${percent(space.freeInodes)} of its inodes left; the kubelet evicts pods below 5 %`
    findings.push({ code: 'INODES_LOW', severity: 'warning', message, fix })
  }
  return findings
}
