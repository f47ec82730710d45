import type { FileSystemUse } from '../../api/disk.ts'
import type { Reclaimed } from './keeper.ts'

/** The disk's numbers in the Prometheus exposition format. */
export function diskMetrics(fileSystems: readonly FileSystemUse[], reclaimed: readonly Reclaimed[]): string {
  const gauge = (name: string, help: string, of: (fs: FileSystemUse) => number): string[] => [
    `# HELP insitu_disk_${name} ${help}`,
    `# TYPE insitu_disk_${name} gauge`,
    ...fileSystems
      .map((fs) => [fs.holds.join('+'), of(fs)] as const)
      .filter(([, value]) => Number.isFinite(value))
      .map(([holds, value]) => `insitu_disk_${name}{holds="${holds}"} ${value}`),
  ]
  const counter = (name: string, help: string, of: (one: Reclaimed) => number): string[] => [
    `# HELP insitu_disk_${name} ${help}`,
    `# TYPE insitu_disk_${name} counter`,
    ...reclaimed.map((one) => `insitu_disk_${name}{kind="${one.step}"} ${of(one)}`),
  ]
  return [
    ...gauge('bytes', 'Size of the file system.', ({ bytes }) => bytes.total),
    ...gauge('used_bytes', 'Bytes that are not available.', ({ bytes }) => bytes.used),
    ...gauge('high_bytes', 'From here on things are removed.', ({ limits }) => limits.bytes.high),
    ...gauge('limit_bytes', 'Here no build starts.', ({ limits }) => limits.bytes.limit),
    ...gauge('inodes', 'Inodes of the file system.', ({ inodes }) => inodes.total),
    ...gauge('used_inodes', 'Inodes that are not free.', ({ inodes }) => inodes.used),
    ...gauge('high_inodes', 'From here on things are removed.', ({ limits }) => limits.inodes.high),
    ...gauge('limit_inodes', 'Here no build starts.', ({ limits }) => limits.inodes.limit),
    ...counter('reclaimed_bytes_total', 'Bytes freed to stay in the budget.', ({ bytes }) => bytes),
    ...counter('reclaimed_inodes_total', 'Inodes freed to stay in the budget.', ({ inodes }) => inodes),
    '',
  ].join('\n')
}
