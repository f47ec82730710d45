import { describeError, InsituError } from '../../kernel/errors.ts'
import type { BuildNode } from '../directory/directory.ts'
import type { Call, RelayContext } from '../relay/context.ts'
import type { Upstream } from '../relay/upstream.ts'

/** A node whose answer is not part of the whole, and why. */
export interface Missing {
  readonly node: string
  readonly reason: string
}

/** What all nodes together said. */
export interface Answers<T> {
  readonly answers: readonly { readonly node: BuildNode; readonly value: T }[]
  readonly missing: readonly Missing[]
  /** What a daemon said is wrong with the question. */
  readonly refusal: InsituError | undefined
}

/** The patience with a node, for who asks it. */
export interface Patience {
  /** The node has answered something: it begins anew. */
  readonly renew: () => void
  /** Waits for something that is not the node's, such as a client that reads slowly: it begins anew after that. */
  readonly pause: <T>(work: Promise<T>) => Promise<T>
}

/** Asks one node. */
export type Ask<T> = (upstream: Upstream, node: BuildNode, signal: AbortSignal, patience: Patience) => Promise<T>

/** Each question opens a connection to its node if this client has none there yet. */
const atOnce = 64

/** Nothing is wrong with the question, and there is no answer: also when there is more of it than a daemon or a gateway takes. */
const unanswered = new Set(['UNAVAILABLE', 'DEADLINE_EXCEEDED', 'RESOURCE_EXHAUSTED'])

/**
 * Asks all nodes, or the given ones, at the same time. A node that is slow or gone holds nobody up beyond the
 * patience; it is named in the result and in the log.
 * @param patience milliseconds for each node, connecting included, until it is done or its patience is renewed.
 * @throws InsituError when no node answered: the daemon's own refusal if there is one.
 */
export async function askNodes<T>(
  context: RelayContext,
  call: Call,
  ask: Ask<T>,
  { patience, nodes = context.directory.nodes() }: { patience: number; nodes?: readonly BuildNode[] },
): Promise<Answers<T>> {
  const answers: { node: BuildNode; value: T }[] = []
  const missing: Missing[] = []
  let refusal: InsituError | undefined
  const queue = nodes.values()
  const worker = async (): Promise<void> => {
    for (const node of queue) {
      try {
        answers.push({ node, value: await askNode(call, node, ask, patience) })
      } catch (error) {
        call.signal.throwIfAborted()
        if (error instanceof InsituError && !unanswered.has(error.status)) refusal ??= error
        else missing.push({ node: node.name, reason: describeError(error) })
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, nodes.length) }, worker))
  logMissing(context, call, missing)
  if (answers.length === 0) throw refusal ?? nobody(missing)
  return { answers, missing, refusal }
}

/** Says in the log which nodes an answer lacks. */
export function logMissing(context: RelayContext, call: Call, missing: readonly Missing[]): void {
  for (const { node, reason } of missing) {
    context.logger.warn({ path: call.path, node, err: reason }, 'a node is missing in a merged answer')
  }
}

/**
 * Asks the daemon of one node, also while its connection cannot be made.
 * @throws InsituError NODE_SLOW after `patience` milliseconds; the reason of the call's signal.
 */
export async function askNode<T>(
  call: Pick<Call, 'signal' | 'upstreams'>,
  node: BuildNode,
  ask: Ask<T>,
  patience: number,
): Promise<T> {
  const late = new AbortController()
  let over = false
  let timer: NodeJS.Timeout | undefined
  const renew = (): void => {
    clearTimeout(timer)
    if (!over) timer = setTimeout(() => late.abort(slow(node, patience)), patience)
  }
  const pause = async <W>(work: Promise<W>): Promise<W> => {
    clearTimeout(timer)
    return work.finally(renew)
  }
  renew()
  const signal = AbortSignal.any([call.signal, late.signal])
  const aborted = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
  })
  // Its result counts only while somebody waits for it.
  aborted.catch(() => undefined)
  try {
    const asking = (async () => ask(await call.upstreams.to(node, true), node, signal, { renew, pause }))()
    asking.catch(() => undefined)
    return await Promise.race([asking, aborted])
  } finally {
    over = true
    clearTimeout(timer)
  }
}

const slow = (node: BuildNode, patience: number): InsituError =>
  new InsituError('NODE_SLOW', `node ${node.name} did not answer within ${patience / 1000} s`, {
    status: 'DEADLINE_EXCEEDED',
  })

const nobody = (missing: readonly Missing[]): InsituError =>
  new InsituError(
    'NO_NODE',
    missing.length === 0 ? 'there is no node to ask' : `no node answered: ${missing.map((m) => m.reason).join('; ')}`,
    { status: 'UNAVAILABLE', fix: 'look whether the build daemons of the nodes run' },
  )
