import { setTimeout as sleep } from 'node:timers/promises'
import type { NodeReport } from '../../api/node-report.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { BuildNode, Directory } from '../directory/directory.ts'
import type { Placer } from '../placement/placer.ts'
import type { Call, RelayContext } from './context.ts'
import type { Upstream } from './upstream.ts'

/** Milliseconds that a build waits for a node whose daemon is about to be back. */
const returning = 60_000

/** Milliseconds between two looks. */
const interval = 500

const comesBack: ReadonlySet<NodeReport['state']> = new Set(['starting', 'restarting', 'draining'])
const noNode: ReadonlySet<string> = new Set(['NO_NODE', 'NODE_CANNOT_BUILD', 'NODE_GONE'])

/**
 * Places a build, also while the only nodes that fit are being restarted: a rollout of the agents goes from node to
 * node, and a build should not fail because it comes while its node is away.
 * @throws what `place` throws, at once unless a node is about to be back.
 */
export async function placedWhenBack<T>(
  context: RelayContext,
  call: Call,
  place: () => Promise<T>,
  patience = returning,
): Promise<T> {
  const end = performance.now() + patience
  const away = new Set<string>()
  for (;;) {
    try {
      return await place()
    } catch (error) {
      // One that has just come back may not be known to placement yet; one that is away may turn out to go for good.
      for (const name of returningNodes(context.directory)) away.add(name)
      const waits = error instanceof InsituError && noNode.has(error.code) && performance.now() < end
      if (!waits || call.signal.aborted || !staying(context.placer, away)) throw error
    }
    await sleep(interval, undefined, { signal: call.signal }).catch(() => undefined)
  }
}

/** Whether a node is about to be back. */
export const someReturn = ({ directory, placer }: Pick<RelayContext, 'directory' | 'placer'>): boolean =>
  staying(placer, returningNodes(directory))

const returningNodes = (directory: Directory): readonly string[] => [
  ...directory.nodes().flatMap((node) => (isReturning(node) ? [node.name] : [])),
  ...(directory.lately?.() ?? []),
]

const staying = (placer: Placer, nodes: Iterable<string>): boolean =>
  [...nodes].some((name) => placer.leaving?.(name) === undefined)

const isReturning = ({ ready, report }: BuildNode): boolean =>
  !ready && (report === undefined || comesBack.has(report.state))

/** Milliseconds for which a node that was chosen a moment ago is dialled again. */
const redial = 10_000

/**
 * Connects to the node of a build that has not begun. A daemon that is just being restarted gets a moment: nothing of
 * the build is lost yet. Fixed nodes, of whose state nothing is known, are dialled once.
 * @throws InsituError NODE_UNREACHABLE
 */
export async function reach(call: Call, node: BuildNode, patience = redial): Promise<Upstream> {
  const end = performance.now() + patience
  for (;;) {
    try {
      return await call.upstreams.to(node)
    } catch (error) {
      if (node.report === undefined || call.signal.aborted || performance.now() >= end) throw error
    }
    await sleep(interval, undefined, { signal: call.signal }).catch(() => undefined)
  }
}
