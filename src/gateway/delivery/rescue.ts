import type { BuiltImage } from '../../api/images.ts'
import { describeError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import { chooseByPlatform, type PlatformOf } from '../images/by-platform.ts'
import type { ImageIndex } from '../images/index.ts'
import type { InProgress } from '../images/in-progress.ts'
import type { ClusterView } from '../placement/cluster.ts'
import { isStuck } from '../wake/wake.ts'
import type { AgentCalls } from './agent-calls.ts'

export interface RescueOptions {
  readonly index: ImageIndex
  readonly inProgress: InProgress
  readonly view: Pick<ClusterView, 'waitingFor'>
  readonly agents: AgentCalls
  /** Whether the node has an agent that can be asked. */
  readonly reachable: (node: string) => boolean
  /** A node is told of those of its own platform first. */
  readonly platform?: PlatformOf
  readonly wake: (node: string, images: readonly string[]) => Promise<void>
  readonly logger: Logger
  /** Milliseconds between two looks. Default 1,000. */
  readonly interval?: number
  /** Milliseconds until a node is tried again for one image. Default 30,000. */
  readonly again?: number
  readonly now?: () => number
}

/** So many nodes that have an image are named to the one that gets it. */
const mostPeers = 4

/**
 * Pods that wait on a node for an image that another node has, without any build: the image is brought there and the
 * pod is woken.
 */
export function createRescue(options: RescueOptions): { look(): Promise<void>; stop(): void } {
  const { index, inProgress, view, agents, logger, interval = 1000, again = 30_000, now = Date.now } = options
  const { platform = () => undefined } = options
  const tried = new Map<string, number>()
  /** Nodes and names that are being brought there: a large image takes longer than a try. */
  const running = new Set<string>()
  const stopping = new AbortController()

  const wanted = (): { readonly node: string; readonly image: BuiltImage }[] => {
    const found = new Map<string, { node: string; image: BuiltImage }>()
    for (const name of index.names()) {
      for (const pod of view.waitingFor(name)) {
        const image = index.newest(name)
        if (pod.node === undefined || !image || inProgress.of(name) || !options.reachable(pod.node)) continue
        if (!isStuck(pod, name) || running.has(`${pod.node} ${name}`)) continue
        found.set(`${pod.node} ${name} ${image.version} ${pod.namespace}/${pod.name}`, { node: pod.node, image })
      }
    }
    for (const [key, at] of tried) if (now() - at > again) tried.delete(key)
    return [...found].flatMap(([key, one]) => {
      if (tried.has(key)) return []
      tried.set(key, now())
      return [one]
    })
  }
  const rescue = async ({ node, image }: { node: string; image: BuiltImage }): Promise<void> => {
    const holders = index.holders(image)
    const key = `${node} ${image.name}`
    running.add(key)
    try {
      if (!holders.includes(node)) {
        const peers = chooseByPlatform(holders, mostPeers, platform(node), platform)
        await agents.pull(node, image, peers, () => undefined, stopping.signal)
        index.add(node, image)
        logger.info({ node, image }, 'a pod waited for an image that another node has: it was brought there')
      }
      await options.wake(node, [image.name])
    } catch (error) {
      logger.warn(
        { node, image, err: describeError(error) },
        'a pod waits for an image that could not be brought there',
      )
    } finally {
      running.delete(key)
    }
  }
  const look = async (): Promise<void> => {
    const byKey = Map.groupBy(wanted(), ({ node, image }) => `${node} ${image.name}`)
    await Promise.all([...byKey.values()].flatMap(([first]) => (first ? [rescue(first)] : [])))
  }
  const timer = setInterval(() => void look(), interval).unref()
  return {
    look,
    stop() {
      clearInterval(timer)
      stopping.abort(new Error('the gateway stops'))
    },
  }
}
