import type { FileSystemUse, NodeUsage } from '../../api/disk.ts'
import { table } from '../cluster/table.ts'
import { formatBytes } from './quantity.ts'

export const groupings = ['node', 'repository', 'kind'] as const
export type Grouping = (typeof groupings)[number]

/** Who holds what, for people. */
export function usageText(nodes: readonly NodeUsage[], by: Grouping): string {
  if (by === 'repository') return byRepository(nodes)
  return by === 'kind' ? byKind(nodes) : byNode(nodes)
}

const sum = <T>(list: readonly T[], of: (one: T) => number): number => list.reduce((all, one) => all + of(one), 0)

/** The fullest file system decides. */
const fullness = ({ bytes, inodes }: FileSystemUse): number =>
  Math.max(bytes.used / bytes.total, inodes.total === 0 ? 0 : inodes.used / inodes.total)

const percent = (used: { readonly used: number; readonly total: number }): string =>
  used.total === 0 ? '-' : `${((100 * used.used) / used.total).toFixed(0)} %`

function byNode(nodes: readonly NodeUsage[]): string {
  const rows = nodes.map((usage) => {
    const [fullest] = usage.fileSystems.toSorted((a, b) => fullness(b) - fullness(a))
    return [
      usage.node,
      fullest ? percent(fullest.bytes) : '-',
      fullest ? percent(fullest.inodes) : '-',
      fullest ? percent({ used: fullest.limits.bytes.high, total: fullest.bytes.total }) : '-',
      formatBytes(sum(usage.cache, (kind) => kind.bytes)),
      formatBytes(usage.reclaimable),
      formatBytes(sum(usage.images, (repository) => repository.unique)),
      formatBytes(usage.temporary.bytes),
      formatBytes(usage.leaked.bytes),
      String(usage.runningBuilds),
    ]
  })
  const head = ['NODE', 'USED', 'INODES', 'BUDGET', 'CACHE', 'RECLAIMABLE', 'IMAGES', 'TEMPORARY', 'LEAKED', 'BUILDS']
  return table([head, ...rows])
}

function byRepository(nodes: readonly NodeUsage[]): string {
  const all = nodes.flatMap(({ node, images }) => images.map((image) => ({ node, ...image })))
  const rows = [...Map.groupBy(all, ({ repository }) => repository)]
    .map(([repository, list]) => ({ repository, list, bytes: sum(list, (one) => one.bytes) }))
    .toSorted((a, b) => b.bytes - a.bytes || a.repository.localeCompare(b.repository))
    .map(({ repository, list, bytes }) => [
      repository,
      String(list.length),
      String(sum(list, (one) => one.images)),
      formatBytes(bytes),
      formatBytes(sum(list, (one) => one.unique)),
      String(sum(list, (one) => one.built)),
      String(sum(list, (one) => one.pinned)),
      String(sum(list, (one) => one.inUse)),
    ])
  return table([['REPOSITORY', 'NODES', 'IMAGES', 'SIZE', 'UNIQUE', 'BUILT', 'PINNED', 'IN USE'], ...rows])
}

function byKind(nodes: readonly NodeUsage[]): string {
  const kinds = Map.groupBy(
    nodes.flatMap(({ cache }) => cache),
    ({ kind }) => kind,
  )
  const rows = [...kinds].map(([kind, list]) => [
    kind,
    String(sum(list, (one) => one.records)),
    formatBytes(sum(list, (one) => one.bytes)),
    formatBytes(sum(list, (one) => one.inUse)),
  ])
  return table([
    ['KIND', 'ENTRIES', 'SIZE', 'IN USE'],
    ...rows,
    [
      'image',
      String(sum(nodes, ({ images }) => sum(images, (one) => one.images))),
      formatBytes(sum(nodes, ({ images }) => sum(images, (one) => one.unique))),
      '',
    ],
    [
      'temporary',
      String(sum(nodes, ({ temporary }) => temporary.entries)),
      formatBytes(sum(nodes, ({ temporary }) => temporary.bytes)),
      '',
    ],
    [
      'leaked',
      String(sum(nodes, ({ leaked }) => leaked.leases)),
      formatBytes(sum(nodes, ({ leaked }) => leaked.bytes)),
      '',
    ],
  ])
}
