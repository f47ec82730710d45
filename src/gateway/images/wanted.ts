import { repositoryOf } from '../../buildkit/reference.ts'
import { describeError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import type { Agent } from '../directory/agent.ts'
import type { ClusterView } from '../placement/cluster.ts'
import type { ImageIndex } from './index.ts'

export interface WantedOptions {
  readonly index: Pick<ImageIndex, 'of'>
  readonly view: () => Pick<ClusterView, 'templatesOf'>
  /** Settles when workloads were listed once: before that nothing would be wanted. */
  readonly complete: (signal: AbortSignal) => Promise<void>
  readonly agents: () => ReadonlyMap<string, Pick<Agent, 'uid' | 'ready'>>
  /** Tells a node which of its built images templates name. */
  readonly tell: (node: string, names: readonly string[]) => Promise<void>
  readonly logger: Logger
  /** Milliseconds between two looks. Default 15,000. */
  readonly interval?: number
}

/** Those of a node's built images that a workload's template names, whether pods of it run or not. */
export function wantedOn(
  index: Pick<ImageIndex, 'of'>,
  view: Pick<ClusterView, 'templatesOf'>,
  node: string,
): string[] {
  return index
    .of(node)
    .map(({ name }) => name)
    .filter((name) => [...view.templatesOf(repositoryOf(name))].some((workload) => workload.images.includes(name)))
    .toSorted()
}

/** Tells each agent what workloads want of its images, when that changes or the agent does. @returns what ends it. */
export function tellWanted(options: WantedOptions): () => void {
  const { index, agents, tell, logger, interval = 15_000 } = options
  const over = new AbortController()
  const told = new Map<string, string>()
  let complete = false

  const look = async (): Promise<void> => {
    if (!complete) await options.complete(over.signal)
    complete = true
    const present = agents()
    for (const node of told.keys()) if (!present.has(node)) told.delete(node)
    for (const [node, { uid, ready }] of present) {
      const names = wantedOn(index, options.view(), node)
      const key = `${uid} ${names.join(' ')}`
      if (!ready || told.get(node) === key) continue
      // An agent that has nothing needs no message. One that has something may keep it because an earlier gateway said so.
      if (names.length === 0 && !told.has(node) && index.of(node).length === 0) continue
      await tell(node, names).then(
        () => told.set(node, key),
        (error: unknown) => logger.debug({ node, err: describeError(error) }, 'an agent was not told what is wanted'),
      )
      if (over.signal.aborted) return
    }
  }
  const next = (): void => {
    timer = setTimeout(() => {
      look()
        .catch((error: unknown) => logger.debug({ err: describeError(error) }, 'what is wanted is not known'))
        .finally(() => over.signal.aborted || next())
    }, interval).unref()
  }
  let timer: NodeJS.Timeout | undefined
  next()
  return () => {
    over.abort(new Error('the gateway ends'))
    clearTimeout(timer)
  }
}
