import type { PruneKind, PruneProgress } from '../../api/disk.ts'
import { InsituError } from '../../kernel/errors.ts'
import { print, say } from '../cluster/connect.ts'
import { table } from '../cluster/table.ts'
import { type PruneFlags, pruneRequest } from './filter.ts'
import { formatBytes } from './quantity.ts'
import { askAll, type NodeOptions, reachNodes, type ReachableNode, sayLeftOut, throwFailed } from './reach-nodes.ts'

interface Removed {
  readonly kind: PruneKind
  readonly id: string
  readonly bytes: number
}

interface PrunedNode {
  readonly node: string
  readonly freed: { readonly bytes: number; readonly inodes: number }
  readonly removed: readonly Removed[]
}

/** `insitu prune`. Progress goes to standard error once a second, the result to standard output. */
export async function runPrune(flags: NodeOptions & PruneFlags): Promise<void> {
  const request = pruneRequest(flags)
  const body = JSON.stringify(request)
  const reached = await reachNodes(flags)
  sayLeftOut(reached)
  const counts = new Map<string, number>()
  const timer = setInterval(() => {
    for (const [node, count] of counts) say(`${node}: ${count} removed so far`)
  }, 1000)
  try {
    const { answers, failed } = await askAll(reached.nodes, (node) =>
      pruneNode(node, body, (count) => counts.set(node.node, count)).finally(() => counts.delete(node.node)),
    )
    const done = answers.toSorted((a, b) => a.node.localeCompare(b.node))
    if (flags.output === 'json') {
      const { rootless } = reached
      print(JSON.stringify({ dryRun: request.dryRun === true, nodes: done, rootless, failed }, null, 2))
    } else if (done.length > 0) print(pruneText(done, request.dryRun === true))
    throwFailed(failed)
  } finally {
    clearInterval(timer)
  }
}

async function pruneNode(node: ReachableNode, body: string, onCount: (count: number) => void): Promise<PrunedNode> {
  const removed: Removed[] = []
  let end: Extract<PruneProgress, { done: true }> | undefined
  await node.ask('prune', body, (text) => {
    const line = JSON.parse(text) as PruneProgress
    if ('error' in line) throw new InsituError('AGENT_REFUSED', line.error, { status: 'UNAVAILABLE' })
    if ('done' in line) end = line
    else {
      removed.push({ kind: line.removed, id: line.id, bytes: line.bytes })
      onCount(removed.length)
    }
  })
  if (!end) throw new InsituError('AGENT_REFUSED', 'the answer of the agent was cut off', { status: 'UNAVAILABLE' })
  return { node: node.node, freed: end.freed, removed }
}

function pruneText(nodes: readonly PrunedNode[], dryRun: boolean): string {
  const rows = nodes.map(({ node, removed, freed }) => [
    node,
    String(removed.length),
    formatBytes(freed.bytes),
    String(freed.inodes),
    [...Map.groupBy(removed, ({ kind }) => kind)].map(([kind, list]) => `${list.length} ${kind}`).join(', ') ||
      'nothing',
  ])
  const total = nodes.reduce((all, { freed }) => all + freed.bytes, 0)
  const verb = dryRun ? 'WOULD FREE' : 'FREED'
  return [
    table([['NODE', dryRun ? 'WOULD REMOVE' : 'REMOVED', verb, 'INODES', 'WHAT'], ...rows]),
    ...(nodes.length > 1 ? [`${dryRun ? 'would free' : 'freed'} ${formatBytes(total)} in all`] : []),
  ].join('\n')
}
