import { setTimeout as sleep } from 'node:timers/promises'
import type { BuiltAnswer, BuiltImage, SharedIndex } from '../../api/images.ts'
import type { GatewayConfig } from '../../api/config.ts'
import type { NamedImages } from '../../buildkit/named-images.ts'
import { describeError, InsituError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import { isNewer, type ImageIndex } from '../images/index.ts'
import type { BuildInProgress, InProgress } from '../images/in-progress.ts'
import type { Progress, Step } from '../progress/progress.ts'
import type { AgentCalls } from './agent-calls.ts'
import { deliver, type DeliveryResult } from './deliver.ts'
import { dropOn } from './drop.ts'
import { deliveryTargets, type DeliveryWish } from './targets.ts'

/** A build that has named its images on its node. */
export interface FinishedBuild {
  readonly node: string
  /** Other nodes that have built platforms of it. */
  readonly others?: readonly string[] | undefined
  /** What the names point to then. */
  readonly shared?: SharedIndex | undefined
  /** Nodes that will run the images. */
  readonly placed: readonly string[]
  readonly named: NamedImages
  /** Of the daemons' records of the build. */
  readonly ref?: string | undefined
  readonly wish: DeliveryWish
  readonly progress: Progress
  /** Aborts when the client is gone. */
  readonly signal: AbortSignal
}

/** What a gateway does about the images of builds. */
export interface ImageWork {
  /** From the moment a build names its images until it is over. */
  begin(names: readonly string[]): BuildInProgress
  /**
   * Makes the images known and brings them where they are wanted, before the client is told.
   * @param inProgress is ended as soon as the image can be had from its node.
   * @returns the error with which the build fails although its image is there, by the policy. Never rejects.
   */
  finish(build: FinishedBuild, inProgress: BuildInProgress): Promise<InsituError | undefined>
  /**
   * A build of several nodes has failed, and its part on this one may have named its image: the names go.
   * @param age milliseconds since the build began. Never rejects.
   */
  retract(node: string, names: readonly string[], age: number): Promise<void>
  /** Nodes that have the newest image of a normalised name. */
  holders(name: string): readonly string[]
}

export interface ImageWorkOptions {
  readonly index: ImageIndex
  readonly inProgress: InProgress
  readonly agents: AgentCalls
  /** Ready nodes of the same platform, those with the least to do first. */
  readonly able: (builder: string) => readonly string[]
  /** Whether images can be brought to a node. Default: to every one. */
  readonly keeps?: (node: string) => boolean
  /** Nodes that may have a name of which their agents have not said so yet. Default: none. */
  readonly told?: (name: string) => readonly string[]
  /** Why a node is not waited for now. Default: every one is. */
  readonly lost?: (node: string) => string | undefined
  /** Wakes the pods of a node that wait for images. */
  readonly wake: (node: string, images: readonly string[]) => Promise<void>
  /** Lines about pods that wait for these images and cannot be woken. */
  readonly stuck: (images: readonly string[]) => Promise<readonly string[]>
  readonly config: GatewayConfig['delivery']
  readonly metrics: DeliveryCounters
  readonly logger: Logger
  /** Milliseconds for which an agent that does not answer is told again of what was built. Default 30,000. */
  readonly telling?: number
}

/** Milliseconds between two tries. */
const between = 500

/** Counted for /metrics. */
export interface DeliveryCounters {
  delivered: number
  failed: number
  bytes: number
  running: number
}

export function createImageWork(options: ImageWorkOptions): ImageWork {
  const { index, agents, config, metrics, logger, telling = 30_000, lost = () => undefined } = options
  const { told = () => [] } = options

  const superseded = (image: BuiltImage): string | undefined => {
    const newest = index.newest(image.name)
    if (!newest || !isNewer(newest, image)) return undefined
    return `${image.name}: a newer build (${short(newest)}, on node ${index.holders(newest)[0]}) has taken the name: nodes get that one`
  }

  /**
   * The builder's agent must know its image before anybody is sent to it: what it does not know it takes for overwritten.
   * @returns names that its node put back, because a build may not write them, and those that another build has taken;
   * an error when it could not be told, undefined when the client is gone.
   */
  async function announce(
    build: FinishedBuild,
    node: string,
    images: readonly BuiltImage[],
  ): Promise<BuiltAnswer | InsituError | undefined> {
    const end = performance.now() + telling
    let step: Step | undefined
    for (;;) {
      try {
        const answer = await agents.built(node, images, build.signal, { index: build.shared, ref: build.ref })
        step?.done()
        return answer
      } catch (error) {
        if (build.signal.aborted) return undefined
        step ??= build.progress.step(`[insitu] the agent of node ${node} is told of the image`)
        step.log(describeError(error))
        if (performance.now() >= end) {
          const said = `the agent of node ${node}, where ${listed(build)} was built, could not be told of it`
          step.done(said)
          logger.warn({ node, images, err: describeError(error) }, 'an agent was not told of what was built')
          return new InsituError('IMAGE_UNRECORDED', said, {
            status: 'UNAVAILABLE',
            fix: 'run the build again: nodes may not get this image',
            cause: error,
          })
        }
      }
      await sleep(between, undefined, { signal: build.signal }).catch(() => undefined)
    }
  }

  /** Takes names off a node again that a build has just given there. */
  async function retract(node: string, images: readonly BuiltImage[]): Promise<void> {
    const nothing = `sha256:${'0'.repeat(64)}`
    const later = images.map(({ name, version }) => ({ name, version: version + 1, digest: nothing }))
    await dropOn(options, node, later)
  }

  async function dropStale(images: readonly BuiltImage[], keep: ReadonlySet<string>): Promise<void> {
    const byNode = new Map<string, BuiltImage[]>()
    for (const image of images) {
      const current = new Set(index.holders(image))
      const pulled = told(image.name).filter((node) => !current.has(node))
      for (const node of new Set([...index.stale(image.name).map((one) => one.node), ...pulled])) {
        // One that is lost is told by the next reconciliation after it is back.
        if (!keep.has(node) && lost(node) === undefined) byNode.set(node, [...(byNode.get(node) ?? []), image])
      }
    }
    await Promise.all([...byNode].map(([node, list]) => dropOn(options, node, list)))
  }

  async function deliverTo(build: FinishedBuild, images: readonly BuiltImage[], targets: readonly string[]) {
    const limit = AbortSignal.timeout(config.timeout * 1000)
    metrics.running += targets.length
    const results = await deliver(
      {
        images,
        targets,
        sources: [build.node, ...(build.others ?? [])],
        progress: build.progress,
        signal: AbortSignal.any([build.signal, limit]),
      },
      {
        pull: (...args) => agents.pull(...args),
        superseded,
        lost,
        perSource: config.perSource,
        async onDelivered(node, delivered) {
          // A newer one may have come there in the meantime.
          for (const image of delivered) if (superseded(image) === undefined) index.add(node, image)
          await options.wake(node, namesOf(build))
        },
      },
    )
    metrics.running -= targets.length
    for (const { bytes, failure } of results) {
      metrics.bytes += bytes
      if (failure === undefined) metrics.delivered += 1
      else metrics.failed += 1
    }
    return results
  }

  function judge(build: FinishedBuild, results: readonly DeliveryResult[]): InsituError | undefined {
    const failed = results.filter((r) => r.failure !== undefined)
    if (failed.length === 0) return undefined
    const nodes = failed.map((r) => `${r.node} (${r.failure})`).join('; ')
    logger.warn({ images: namesOf(build), node: build.node, failed }, 'nodes did not get an image that was built')
    if (build.signal.aborted) return undefined
    const sentence = `${listed(build)} is on node ${build.node} and could not be delivered to ${nodes}`
    if (!(build.wish.required ?? config.required)) {
      const step = build.progress.step('[insitu] delivery is not complete')
      step.log(`${sentence}; pods there get it by the mirror when it works again`)
      step.done()
      return undefined
    }
    return new InsituError('DELIVERY', sentence, {
      status: 'UNAVAILABLE',
      fix: 'run the build again, or set insitu.deliver-required=false',
    })
  }

  async function finish(build: FinishedBuild, inProgress: BuildInProgress): Promise<InsituError | undefined> {
    const { node, progress } = build
    const names = namesOf(build)
    const images = [...build.named].flatMap(([name, digest]): BuiltImage[] =>
      digest === undefined ? [] : [{ name, digest, version: index.nextVersion(name) }],
    )
    if (images.length === 0) {
      inProgress.ended()
      await options.wake(node, names)
      return undefined
    }
    const builders = [node, ...(build.others ?? [])]
    const told = await Promise.all(builders.map((builder) => announce(build, builder, images)))
    const untold = told.find((one) => one instanceof InsituError)
    if (untold) {
      inProgress.ended(untold.message)
      if (build.others) for (const builder of builders) await retract(builder, images)
      return untold
    }
    const answers = told.map((one) => (one instanceof InsituError ? undefined : one))
    const refused = answers.flatMap((answer) => answer?.refused ?? [])
    if (refused.length > 0) {
      if (build.others) for (const builder of builders) await retract(builder, images)
      return new InsituError('NAME_PROTECTED', refused.map((r) => `${r.name}: ${r.reason}`).join('; '), {
        status: 'PERMISSION_DENIED',
        fix: 'use another name; the node has put its own image back',
      })
    }
    const given = images.filter((image) => {
      const under = builders.filter((_, i) => answers[i] && !answers[i].overtaken?.includes(image.name))
      for (const builder of under) index.add(builder, image)
      return under.length > 0
    })
    inProgress.ended()
    const wanted = build.wish.to ?? config.to
    const more = wanted === 'all' || typeof wanted === 'number' ? [...new Set(builders.flatMap(options.able))] : []
    const able = more.filter((one) => lost(one) === undefined)
    const others = deliveryTargets({ to: wanted, builder: node, placed: build.placed, able })
    const { keeps = () => true } = options
    const targets = others.filter((target) => !builders.includes(target) && keeps(target))
    const current: BuiltImage[] = []
    for (const image of images) {
      const lost = !given.includes(image)
      const why = superseded(image) ?? (lost && answers.some(Boolean) ? overtaken(image.name, node) : undefined)
      if (why !== undefined) say(progress, logger, why)
      // What no agent knows of cannot be had from anywhere: who has an older one keeps it.
      else if (!lost) current.push(image)
    }
    const [results] = await Promise.all([
      current.length > 0 && targets.length > 0 ? deliverTo(build, current, targets) : [],
      dropStale(current, new Set([...builders, ...targets])),
      ...builders.map((builder) => options.wake(builder, names)),
    ])
    const stuck = await options.stuck(names)
    if (stuck.length > 0) {
      const step = progress.step('[insitu] pods that start at their next try')
      for (const line of stuck) step.log(line)
      step.done()
    }
    return judge(build, results)
  }

  return {
    begin: (names) => options.inProgress.begin(names),
    holders(name) {
      const newest = index.newest(name)
      return newest ? index.holders(newest) : []
    },
    async retract(node, names, age) {
      try {
        await agents.retract(node, names, age)
      } catch (error) {
        logger.warn({ node, names, err: describeError(error) }, 'part of a build that failed may stay on its node')
      }
    },
    async finish(build, inProgress) {
      try {
        return await finish(build, inProgress)
      } catch (error) {
        logger.error({ err: error, images: namesOf(build) }, 'what follows a build failed here')
        return undefined
      } finally {
        inProgress.ended()
      }
    },
  }
}

function say(progress: Progress, logger: Logger, why: string): void {
  logger.warn({ why }, 'a build was overtaken')
  const step = progress.step('[insitu] a newer build won')
  step.log(why)
  step.done()
}

const overtaken = (name: string, node: string): string =>
  `${name}: another build that ended at the same moment has taken the name on node ${node}: nodes get that one`

const namesOf = ({ named }: FinishedBuild): string[] => [...named.keys()]
const listed = (build: FinishedBuild): string => namesOf(build).join(', ')

const short = ({ digest }: BuiltImage): string => digest.slice(0, 'sha256:'.length + 12)
