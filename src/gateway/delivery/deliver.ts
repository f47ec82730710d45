import type { BuiltImage } from '../../api/images.ts'
import { describeError } from '../../kernel/errors.ts'
import type { Progress, Step } from '../progress/progress.ts'
import type { AgentCalls } from './agent-calls.ts'
import { nextTransfers, type Transfer } from './plan.ts'

export interface DeliveryRequest {
  /** What one build made: content under one or several names, or several outputs. */
  readonly images: readonly BuiltImage[]
  /** Nodes that have them. */
  readonly sources: readonly string[]
  readonly targets: readonly string[]
  readonly progress: Progress
  /** Ends it: the client is gone, or the time is over. */
  readonly signal: AbortSignal
}

export interface DeliverOptions {
  readonly pull: AgentCalls['pull']
  /** Why an image is not wanted any more, e.g. since a newer one was built. */
  readonly superseded: (image: BuiltImage) => string | undefined
  /** Why nothing can be brought to a node for now: it is not waited for. */
  readonly lost: (node: string) => string | undefined
  /** A node has these images now: all that are still wanted. */
  readonly onDelivered: (node: string, images: readonly BuiltImage[]) => Promise<void>
  readonly perSource: number
}

/** What became of each target. */
export interface DeliveryResult {
  readonly node: string
  readonly bytes: number
  /** Why the node did not get it. */
  readonly failure: string | undefined
  /** It gets none of them since newer images took the names meanwhile; not a failure. */
  readonly superseded: boolean
}

/** Tries for one target: sources die, and those who have the image by then are others. */
const mostTries = 2

/** Peers that a target is told besides its source. */
const mostPeers = 4

/** Brings images to all targets, in parallel and tree-shaped. Never rejects: each target has its own result. */
export async function deliver(request: DeliveryRequest, options: DeliverOptions): Promise<readonly DeliveryResult[]> {
  const { images, progress, signal } = request
  const sources = new Map(request.sources.map((node) => [node, 0]))
  const steps = new Map(request.targets.map((node) => [node, stepFor(progress, node, images)]))
  const tries = new Map<string, number>()
  const waiting: string[] = []
  const running = new Map<string, Promise<void>>()
  const results: DeliveryResult[] = []

  const conclude = (node: string, bytes: number, failure: string | undefined): void => {
    steps.get(node)?.done(failure)
    results.push({ node, bytes, failure, superseded: false })
  }
  const wanted = (image: BuiltImage): boolean => options.superseded(image) === undefined
  const sayOvertaken = (node: string): void => {
    for (const image of images) {
      const why = options.superseded(image)
      if (why !== undefined) steps.get(node)?.log(why)
    }
  }
  const giveUp = (node: string): void => {
    sayOvertaken(node)
    steps.get(node)?.done()
    results.push({ node, bytes: 0, failure: undefined, superseded: true })
  }
  const transfer = async ({ target, source }: Transfer): Promise<void> => {
    const step = steps.get(target)
    if (!images.some(wanted)) return giveUp(target)
    step?.log(`from node ${source}`)
    sources.set(source, (sources.get(source) ?? 0) + 1)
    try {
      const { bytes, pulled } = await pullAll(target, source, step)
      const delivered = pulled.filter(wanted)
      if (delivered.length === 0) return giveUp(target)
      sources.set(target, 0)
      await options.onDelivered(target, delivered)
      if (delivered.length < images.length) sayOvertaken(target)
      conclude(target, bytes, undefined)
    } catch (error) {
      if (!images.some(wanted)) return giveUp(target)
      const failure = describeError(error)
      const tried = (tries.get(target) ?? 0) + 1
      tries.set(target, tried)
      const over = signal.aborted || tried >= mostTries || options.lost(target) !== undefined
      if (over) return conclude(target, 0, failure)
      step?.log(`${failure}; trying again`)
      waiting.push(target)
    } finally {
      sources.set(source, Math.max(0, (sources.get(source) ?? 1) - 1))
    }
  }
  /** Brings what is wanted when its turn comes. */
  const pullAll = async (target: string, source: string, step: Step | undefined) => {
    const others = [...sources.keys()].filter((node) => node !== source && node !== target)
    const peers = [source, ...others.slice(0, mostPeers)]
    const pulled: BuiltImage[] = []
    let moved = 0
    for (const image of images) {
      if (!wanted(image)) continue
      try {
        moved += await options.pull(target, image, peers, (now, total) => step?.bytes(moved + now, total), signal)
        pulled.push(image)
      } catch (error) {
        // What came of one that is overtaken is not what was asked for.
        if (wanted(image)) throw error
      }
    }
    step?.bytes(moved, moved)
    return { bytes: moved, pulled }
  }

  for (const node of request.targets) {
    const why = options.lost(node)
    if (why === undefined) waiting.push(node)
    else conclude(node, 0, why)
  }
  while (waiting.length > 0 || running.size > 0) {
    if (signal.aborted) for (const node of waiting.splice(0)) conclude(node, 0, describeError(signal.reason))
    for (const next of nextTransfers({ sources, waiting, perSource: options.perSource })) {
      waiting.splice(waiting.indexOf(next.target), 1)
      const done = transfer(next).finally(() => running.delete(next.target))
      running.set(next.target, done)
    }
    if (running.size > 0) await Promise.race(running.values())
  }
  return results
}

const stepFor = (progress: Progress, node: string, images: readonly BuiltImage[]): Step =>
  progress.step(`[insitu] deliver ${images.map((i) => i.name).join(', ')} to node ${node}`)
