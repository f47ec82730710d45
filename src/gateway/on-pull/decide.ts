import {
  badRevision,
  coversPlatform,
  type Demand,
  demandKey,
  gist,
  matchName,
  namesOf,
  retryAfter,
} from '../../api/builds/on-pull.ts'
import type { Begun, Order } from './orders.ts'

/** The node that asks for a name. */
export interface Asking {
  readonly node: string
  /** What it is; undefined where nobody knows. */
  readonly platform: string | undefined
  /** Why it cannot build; undefined when it can. */
  readonly cannotBuild: string | undefined
}

export interface PullQuestion {
  /** Normalised. */
  readonly name: string
  readonly asking: Asking
  /** Those that claim names of the repository, the oldest first. */
  readonly orders: readonly Order[]
  readonly begun: (order: Order) => readonly Begun[]
  /** Why the policy does not let a Build have this name. */
  readonly refusal: (order: Order, name: string) => string | undefined
  /** Digest of the newest image of the name that any node has that is not lost. */
  readonly found: string | undefined
  /** Milliseconds since 1970. */
  readonly now: number
}

export type PullVerdict =
  /** No Build has to do with it, or all that could be built is there. */
  | { readonly kind: 'none' }
  | { readonly kind: 'failed'; readonly reason: string }
  /** It is being built, or will be without anybody doing anything. */
  | { readonly kind: 'pending' }
  | { readonly kind: 'demand'; readonly order: Order; readonly key: string; readonly demand: Demand }

/** Milliseconds after a build within which every gateway has heard which node has its image. */
const settle = 30_000

/** The Build whose name it is: the oldest that the policy lets have it. */
export const claimedBy = ({ name, orders, refusal }: Pick<PullQuestion, 'name' | 'orders' | 'refusal'>) =>
  orders.flatMap((order) => {
    const match = matchName(order.names, name)
    return match && refusal(order, name) === undefined ? [{ order, revision: match.revision }] : []
  })[0]

/** What a pull of a name means to Builds that wait for one. Pure. */
export function decidePull({ name, asking, orders, begun, refusal, found, now }: PullQuestion): PullVerdict {
  const claimed = claimedBy({ name, orders, refusal })
  if (!claimed) return { kind: 'none' }
  const { order, revision } = claimed
  const same = begun(order)
    .filter(({ names }) => names.includes(name))
    .toSorted((a, b) => byEnd(a) - byEnd(b))
  const { platform } = asking
  if (found !== undefined) {
    // The image is there a moment before its Build says which it is. Of one that something else has built under this
    // name nothing is known: it is what there is.
    const built =
      same.findLast(({ digest, rebuilt }) => digest === found || rebuilt.includes(found)) ??
      same.findLast(({ ended }) => ended === undefined)
    if (built === undefined || coversPlatform(built.platforms, platform)) return { kind: 'none' }
    if (order.platforms && !coversPlatform(order.platforms, platform)) return { kind: 'none' }
  }
  const wrong = revision === undefined ? undefined : badRevision(revision, order.revisions)
  if (wrong !== undefined) return { kind: 'failed', reason: wrong }
  if (order.platforms && !coversPlatform(order.platforms, platform)) {
    const what = order.platforms.join(', ')
    return { kind: 'failed', reason: `${label(order)} builds it for ${what}, and node ${asking.node} is ${platform}` }
  }
  if (same.some(({ ended }) => ended === undefined)) return { kind: 'pending' }
  const last = same.at(-1)
  const pushed = order.pushes && found === undefined ? same.findLast(({ succeeded }) => succeeded) : undefined
  // The registry has it still: a failure after it took nothing away.
  if (pushed && coversPlatform(pushed.platforms, platform)) return { kind: 'none' }
  if (last && !last.succeeded && last.generation === order.generation) {
    const until = (last.ended ?? 0) + retryAfter(last.failures + 1) * 1000
    if (now < until) return { kind: 'failed', reason: failure(order, last, until) }
  }
  if (last?.succeeded === true && found === undefined && now - (last.ended ?? 0) < settle) return { kind: 'pending' }
  const key = demandKey(name, platform)
  const going = begun(order).filter(({ ended }) => ended === undefined).length
  const isWanted = namesOf(order.names, revision).some((one) => order.demands.has(demandKey(one, platform)))
  if (isWanted || going + order.demands.size >= order.atOnce) return { kind: 'pending' }
  const demand: Demand = {
    ...{ name, asked: asking.node, at: new Date(now).toISOString() },
    ...(platform === undefined ? {} : { platform }),
    ...(asking.cannotBuild === undefined ? {} : { elsewhere: asking.cannotBuild }),
  }
  return { kind: 'demand', order, key, demand }
}

/** By their ends: what goes on comes last. */
const byEnd = ({ ended }: Begun): number => ended ?? Infinity

const label = ({ namespace, name }: Order): string => `Build ${namespace}/${name}`

/** One line for the event of a pod: the last of what the build said. */
function failure(order: Order, { message }: Begun, until: number): string {
  return `${gist(message)} (${label(order)}; the next pull after ${new Date(until).toISOString().slice(11, 19)} UTC tries again)`
}
