import type { FileSystemUse } from '../../api/disk.ts'
import type { Finding } from '../../api/node-report.ts'

/** Findings for file systems that are at their limit: the node takes no builds until something is gone. */
export function limitFindings(fileSystems: readonly FileSystemUse[]): Finding[] {
  const fix = 'see who holds it with `insitu du`, remove images that nobody needs, or give the node a larger disk'
  return fileSystems.flatMap(({ path, bytes, inodes, limits }): Finding[] => [
    ...(bytes.used >= limits.bytes.limit
      ? [
          {
            code: 'DISK_LIMIT',
            severity: 'fatal',
            message: `${path} has reached the kubelet’s threshold (${percent(limits.bytes.limit, bytes.total)} of the bytes), and nothing more can be removed`,
            fix,
          } as const,
        ]
      : []),
    ...(inodes.used >= limits.inodes.limit
      ? [
          {
            code: 'INODES_LIMIT',
            severity: 'fatal',
            message: `${path} has reached the kubelet’s threshold (${percent(limits.inodes.limit, inodes.total)} of the inodes), and nothing more can be removed`,
            fix,
          } as const,
        ]
      : []),
  ])
}

const percent = (part: number, total: number): string => `${((100 * part) / total).toFixed(0)} %`
