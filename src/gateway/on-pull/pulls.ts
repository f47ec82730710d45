import { buildResources } from '../../api/builds/builds.ts'
import { refusedAnnotation, revisionPlaceholder, unservedAnnotation } from '../../api/builds/on-pull.ts'
import type { BuiltImage, Lookup } from '../../api/images.ts'
import { repositoryOf } from '../../buildkit/reference.ts'
import { describeError } from '../../kernel/errors.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import type { Logger } from '../../kernel/log.ts'
import type { Metrics } from '../../kernel/metrics.ts'
import { type Asking, claimedBy, decidePull, type PullVerdict } from './decide.ts'
import type { Order, Orders } from './orders.ts'
import { type UnmirroredPull, unservedBecause } from './unmirrored.ts'

/** Pulls of names that Builds wait for. */
export interface Pulls {
  /**
   * What to say to a node that asks for a name and would otherwise get `found`; undefined: that.
   * `onPull` means that it is built if the node asks again and says so.
   */
  answer(name: string, node: string, found: BuiltImage | undefined): Lookup | undefined
  /** Has it built, unless that goes on already, and waits. @returns undefined when something happened: look again. */
  demand(name: string, node: string, wait: number, signal: AbortSignal): Promise<Lookup | undefined>
  close(): void
}

export interface PullsOptions {
  readonly client: Pick<KubernetesClient, 'patch'>
  readonly orders: Orders
  readonly index: {
    newest(name: string): BuiltImage | undefined
    holders(image: BuiltImage): readonly string[]
    onChange(listener: (name: string) => void): () => void
  }
  /** What a node is. */
  readonly asking: (node: string, order: Pick<Order, 'namespace' | 'serviceAccount' | 'pushes'>) => Asking
  /** Whether a node is away, and gives nobody what it has. Its agent's pod, and so its images, stay known for as long. */
  readonly lost: (node: string) => boolean
  /** Pulls of nodes that have no mirror. Default: there are none. */
  readonly unmirrored?: () => readonly UnmirroredPull[]
  /** The images of some nodes are not known yet: one of them may have the name. */
  readonly unsure: (name: string) => boolean
  /** Why the policy does not let an account of a namespace have a name. */
  readonly refusal: (namespace: string, serviceAccount: string, name: string) => string | undefined
  readonly logger: Logger
  readonly metrics: Metrics
  readonly now?: () => number
  /** Milliseconds between two looks whether the policy refuses names that Builds claim. Default 5,000. */
  readonly interval?: number
}

/** Milliseconds until the same demand is written again, if nobody has heard of the first. */
const rewrite = 5000

export function createPulls(options: PullsOptions): Pulls {
  const { client, orders, index, refusal, logger, metrics, now = Date.now, interval = 5000 } = options
  const written = new Map<string, number>()
  const help = 'Pulls of names that Builds wait for.'
  const count = (outcome: string): void => metrics.count('insitu_on_pull_total', help, { outcome })
  for (const outcome of ['demanded', 'refused', 'failed']) metrics.count('insitu_on_pull_total', help, { outcome }, 0)

  const refusalOf = ({ namespace, serviceAccount }: Order, name: string): string | undefined =>
    refusal(namespace, serviceAccount, name)
  const isLost = (image: BuiltImage): boolean => index.holders(image).every(options.lost)
  const decide = (name: string, node: string, newest: BuiltImage | undefined): PullVerdict => {
    const claiming = orders.claiming(repositoryOf(name))
    if (claiming.length === 0) return { kind: 'none' }
    const question = { name, orders: claiming, refusal: refusalOf }
    const order = claimedBy(question)?.order
    if (order === undefined) return { kind: 'none' }
    const found = newest && !isLost(newest) ? newest.digest : undefined
    const verdict = decidePull({
      ...{ ...question, found, now: now(), asking: options.asking(node, order) },
      begun: (one) => orders.begun(one),
    })
    return verdict.kind === 'demand' && options.unsure(name) ? { kind: 'pending' } : verdict
  }
  const annotate = ({ namespace, name }: Order, key: string, value: string | null): Promise<unknown> =>
    client.patch(
      buildResources.builds,
      { namespace, name },
      { metadata: { annotations: { [key]: value } } },
      { timeout: 5000 },
    )

  async function write({ order, key, demand }: Extract<PullVerdict, { kind: 'demand' }>): Promise<void> {
    for (const [at, time] of written) if (now() - time > rewrite) written.delete(at)
    const id = `${order.uid} ${key}`
    if (written.has(id)) return
    written.set(id, now())
    const build = `${order.namespace}/${order.name}`
    try {
      await annotate(order, key, JSON.stringify(demand))
      count('demanded')
      logger.info(
        { build, image: demand.name, node: demand.asked, elsewhere: demand.elsewhere },
        'a pull wants a build',
      )
    } catch (error) {
      written.delete(id)
      logger.warn({ build, image: demand.name, err: describeError(error) }, 'a pull could not be made known')
    }
  }

  /** Says on each Build whether the policy lets it have its names, before anybody pulls one. */
  const look = async (): Promise<void> => {
    const unserved = await lookAtUnmirrored()
    for (const order of orders.all()) {
      const unable = unserved.get(order.uid)
      if (unable !== order.unserved) await tell(order, unservedAnnotation, unable)
      const said = order.names
        .map((name) => refusalOf(order, name.replace(revisionPlaceholder, 'x')))
        .find((one) => one !== undefined)
      if (said === order.refused) continue
      if (said !== undefined) count('refused')
      await tell(order, refusedAnnotation, said)
    }
  }
  const tell = async (order: Order, key: string, sentence: string | undefined): Promise<void> => {
    const build = `${order.namespace}/${order.name}`
    await annotate(order, key, sentence ?? null).then(
      () => logger.warn({ build, [key]: sentence }, 'what is said to a Build that waits for pulls'),
      (error: unknown) => logger.debug({ build, err: describeError(error) }, 'that could not be made known'),
    )
  }
  /** Has built for nodes without a mirror what is pushed. @returns what is to be said where it is not, by UID. */
  const lookAtUnmirrored = async (): Promise<ReadonlyMap<string, string>> => {
    const unserved = new Map<string, string>()
    for (const pull of options.unmirrored?.() ?? []) {
      const { name, node } = pull
      const order = claimedBy({ name, orders: orders.claiming(repositoryOf(name)), refusal: refusalOf })?.order
      if (order === undefined) continue
      if (!order.pushes) {
        if (!unserved.has(order.uid)) unserved.set(order.uid, unservedBecause(pull))
        continue
      }
      const verdict = decide(name, node, index.newest(name))
      if (verdict.kind === 'demand') await write(verdict)
    }
    return unserved
  }
  const unknown = (error: unknown): void =>
    logger.debug({ err: describeError(error) }, 'what the policy says to Builds that wait for pulls is not known')
  let timer: NodeJS.Timeout | undefined
  let closed = false
  const next = (): void => {
    if (!closed) timer = setTimeout(() => void look().catch(unknown).finally(next), interval).unref()
  }
  next()

  return {
    answer(name, node, found) {
      const verdict = decide(name, node, found)
      if (verdict.kind === 'none') return undefined
      if (verdict.kind === 'failed') count('failed')
      return verdict.kind === 'failed' ? { state: 'failed', reason: verdict.reason } : { state: 'onPull' }
    },
    async demand(name, node, wait, signal) {
      const end = now() + wait
      for (;;) {
        const verdict = decide(name, node, index.newest(name))
        if (verdict.kind === 'none' || verdict.kind === 'failed') return undefined
        if (verdict.kind === 'demand') await write(verdict)
        const left = end - now()
        if (left <= 0 || signal.aborted) return { state: 'onPull' }
        await change(name, Math.min(left, 1000), signal)
      }
    },
    close() {
      closed = true
      clearTimeout(timer)
    },
  }

  /** Until something happened to a Build or to the name, and not longer than that. */
  async function change(name: string, longest: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const over = (): void => resolve()
    const stopOrders = orders.onChange(over)
    const stopIndex = index.onChange((changed) => void (changed === name && resolve()))
    const wake = setTimeout(over, longest)
    signal.addEventListener('abort', over, { once: true })
    try {
      await promise
    } finally {
      stopOrders()
      stopIndex()
      clearTimeout(wake)
      signal.removeEventListener('abort', over)
    }
  }
}
