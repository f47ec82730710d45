import { setTimeout as sleep } from 'node:timers/promises'
import type { BuiltImage, Lookup, Peer } from '../../api/images.ts'
import { chooseByPlatform, type PlatformOf } from './by-platform.ts'
import type { ImageIndex } from './index.ts'
import type { Pulls } from '../on-pull/pulls.ts'
import type { InProgress } from './in-progress.ts'
import type { OrdinaryImages } from './ordinary-images.ts'
import { createTold, type Told } from './told.ts'

/** What is looked for: a name, or a digest in a repository. Normalised. */
export type Wanted =
  /** `finished`: what there is now, whatever is being built or could be. */
  | { readonly name: string; readonly finished?: boolean }
  /** `ordinary`: also of images that insitu did not build; their registry has let the asking node have it. */
  | { readonly repository: string; readonly digest: string; readonly ordinary?: boolean }

export interface LookupOptions {
  readonly index: ImageIndex
  /** Nodes that have an image which insitu did not build, by the digest that its name points to. */
  readonly ordinary?: OrdinaryImages
  readonly inProgress: InProgress
  /** The agent of a node, as others reach it; undefined while it has no address. */
  readonly peer: (node: string) => Peer | undefined
  /** How busy a node is: those with less come first. */
  readonly load: (node: string) => number
  /** Nodes of the asking one's platform come first. */
  readonly platform?: PlatformOf
  /** Nodes whose agent is being stopped come last of their platform: it may end while it gives the image. */
  readonly drains?: (node: string) => boolean
  /** The node from which this one should get the image, where somebody decided that. */
  readonly assigned?: (asking: string, image: BuiltImage) => string | undefined
  /** Whether pods of a node wait for other images than this. */
  readonly crowded?: (node: string, name: string) => boolean
  /** Names that Builds wait for a pull of. */
  readonly pulls?: Pick<Pulls, 'answer' | 'demand'> | undefined
  /** Nodes that are there and had a name a moment ago, whose next agent has not said yet what it has. */
  readonly awaited?: (name: string) => readonly string[]
  /** Two callers get different first choices among equals. 0 ≤ x < 1. */
  readonly random?: () => number
}

export interface How {
  readonly demand?: boolean
  readonly serial?: boolean
}

export interface Lookups {
  /**
   * @param asking the node that asks, which is not named to itself.
   * @param wait milliseconds to hold the answer while the name is being built.
   * @param how `demand`: a Build that waits for a pull of the name is to be built; `serial`: the node pulls one image at a time,
   * so the answer is not held while others wait.
   */
  lookup(wanted: Wanted, asking: string, wait: number, signal: AbortSignal, how?: How): Promise<Lookup>
  /** Answers that are held now. */
  readonly held: number
  /** Nodes that pulled the name a moment ago. */
  readonly told: Told['of']
}

/** A pull of a name. */
interface Asked {
  readonly name: string
  readonly asking: string
  /** Nobody waits for the answer any more. */
  readonly signal: AbortSignal
  /** Others wait behind it. */
  readonly isCrowded: () => boolean
}

/** Milliseconds between two looks at who else waits on a node. */
const crowdInterval = 500
/** … and whether the next agent of a node has said what is there. */
const awaitedInterval = 100
/** So many are enough to go on when some die. */
const mostPeers = 8
/** Of the nodes that have an image everybody has, so many are looked at. */
const mostAsked = 64

export function createLookups(options: LookupOptions): Lookups {
  const { index, inProgress, peer, load, drains = () => false, random = Math.random } = options
  const { platform = () => undefined } = options
  let held = 0
  const told = createTold()
  const hold = async <T>(work: () => Promise<T>): Promise<T> => {
    held += 1
    return work().finally(() => (held -= 1))
  }

  const peersOf = (image: BuiltImage, asking: string): readonly Peer[] => {
    const first = options.assigned?.(asking, image)
    return inOrder(index.holders(image), asking, first)
  }
  const inOrder = (nodes: readonly string[], asking: string, first?: string): readonly Peer[] => {
    const sorted = nodes
      .filter((node) => node !== asking && peer(node))
      .map((node) => ({ node, last: Number(drains(node)), order: node === first ? -1 : load(node) + random() }))
      .toSorted((a, b) => a.last - b.last || a.order - b.order)
      .map(({ node }) => node)
    const own = platform(asking)
    // The node that somebody decided on stays the first.
    const of: PlatformOf = (node) => (node === first ? own : platform(node))
    return chooseByPlatform(sorted, mostPeers, own, of).flatMap((node) => peer(node) ?? [])
  }

  const here = (image: BuiltImage | undefined, asking: string): Lookup =>
    image ? { state: 'here', image, peers: peersOf(image, asking) } : { state: 'none' }
  /** For a pull: the node is about to have it. */
  const give = (image: BuiltImage | undefined, asking: string): Lookup => {
    if (image) told.note(image.name, asking)
    return here(image, asking)
  }

  const pulled = async ({ name, asking, signal, isCrowded }: Asked, wait: number): Promise<Lookup | undefined> => {
    const answer = () => options.pulls?.answer(name, asking, index.newest(name))
    let said = answer()
    if (said?.state !== 'onPull' || wait <= 0) return said
    if (!isCrowded()) {
      said = (await hold(async () => options.pulls?.demand(name, asking, wait, signal))) ?? answer()
    }
    return said?.state === 'onPull' && isCrowded() ? { ...said, crowded: true } : said
  }

  /** The asking node itself knows what it has. */
  const isAwaited = (name: string, asking: string): boolean => {
    if (index.newest(name) !== undefined) return false
    const nodes = options.awaited?.(name) ?? []
    return nodes.length > 0 && !nodes.includes(asking)
  }
  /** Waits while somebody may have it of whom nobody knows. @returns false when that goes on, or it is being built. */
  const isKnown = async ({ name, asking, signal, isCrowded }: Asked, end: number): Promise<boolean> => {
    const waits = (): boolean => !inProgress.of(name) && isAwaited(name, asking)
    const mayWait = (): boolean => performance.now() < end && !signal.aborted && !isCrowded()
    await hold(async () => {
      while (waits() && mayWait()) await sleep(awaitedInterval)
    })
    return !inProgress.of(name) && !isAwaited(name, asking)
  }

  return {
    async lookup(wanted, asking, wait, signal, { demand = false, serial = false } = {}) {
      if ('digest' in wanted) {
        const { repository, digest } = wanted
        const built = index.byDigest(repository, digest)
        if (!wanted.ordinary || built?.digest === digest) return here(built, asking)
        const peers = inOrder(options.ordinary?.holders(digest, mostAsked) ?? [], asking)
        if (peers.length === 0) return { state: 'none' }
        return { state: 'here', image: { name: `${repository}@${digest}`, digest, version: 0 }, peers }
      }
      const { name, finished = false } = wanted
      if (finished) return here(index.newest(name), asking)
      const end = performance.now() + wait
      const isCrowded = (): boolean => serial && options.crowded?.(asking, name) === true
      const asked: Asked = { name, asking, signal, isCrowded }
      if (!inProgress.of(name)) {
        const said = await pulled(asked, demand ? wait : 0)
        if (said) return said
        if (await isKnown(asked, end)) return give(index.newest(name), asking)
      }
      const failure = wait > 0 && inProgress.of(name) ? await hold(() => ended(asked, end)) : undefined
      const building = inProgress.of(name) ?? (isAwaited(name, asking) ? { node: undefined } : undefined)
      if (building) return { state: 'building', node: building.node, ...(isCrowded() ? { crowded: true } : {}) }
      const found = index.newest(name)
      if (!found && failure !== undefined) return { state: 'failed', reason: failure }
      return give(found, asking)
    },
    get held() {
      return held
    },
    told: told.of,
  }

  /**
   * Waits until no build of the name is left, the time is over, nobody listens, or others wait behind it.
   * @returns why the last one failed.
   */
  async function ended({ name, signal, isCrowded }: Asked, end: number): Promise<string | undefined> {
    if (signal.aborted || isCrowded()) return undefined
    const { promise, resolve } = Promise.withResolvers<string | undefined>()
    const over = (): void => resolve(undefined)
    const timer = setTimeout(over, end - performance.now())
    const looks = setInterval(() => isCrowded() && over(), crowdInterval)
    signal.addEventListener('abort', over, { once: true })
    const stop = inProgress.next(name, (failure) => {
      if (!inProgress.of(name)) resolve(failure)
    })
    try {
      return await promise
    } finally {
      stop()
      clearTimeout(timer)
      clearInterval(looks)
      signal.removeEventListener('abort', over)
    }
  }
}
