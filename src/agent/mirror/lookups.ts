import { setTimeout as sleep } from 'node:timers/promises'
import { gatewayPaths } from '../../api/agent-api.ts'
import type { BuiltImage, Lookup, Peer } from '../../api/images.ts'
import type { Gateways } from './gateways.ts'

/**
 * A name, or a digest in a repository; both normalised. `finished`: whatever is being built, what there is; `ordinary`: also
 * of images that insitu did not build.
 */
export type Wanted =
  | { readonly name: string; readonly finished?: '1' }
  | { readonly repository: string; readonly digest: string; readonly ordinary?: '1' }

/** What all gateways together say, and which of them have said nothing: not in time, or they could not be asked. */
export type Joined = Word & { readonly unheard?: readonly string[] }

type Word =
  | { readonly state: 'here'; readonly image: BuiltImage; readonly peers: readonly Peer[] }
  /** `by` are the gateways that relay the build. */
  | { readonly state: 'building'; readonly by: readonly string[] }
  /** It has failed a moment ago, and is not tried again before some time has passed. */
  | { readonly state: 'failed'; readonly reason: string }
  /** A Build waits for somebody who pulls it; `ask` is the gateway to be told. */
  | { readonly state: 'onPull'; readonly ask: string }
  | { readonly state: 'none' }
  /** No gateway answered: only what is on this node is known. */
  | { readonly state: 'unreachable' }

/** What a gateway that was waited for has said; nothing of it: none has said anything. */
export interface Change {
  readonly from?: string
  readonly word?: Lookup
}

export interface Lookups {
  /** @param words of gateways that were late, which count where they are late again. */
  ask(wanted: Wanted, words?: ReadonlyMap<string, Lookup>): Promise<Joined>
  /**
   * Waits until something happened to the builds of a name, at the gateways that relay them, and up to `answering` longer.
   * @param serial also until other pods of this node wait for other images, which come one at a time.
   */
  change(name: string, by: readonly string[], milliseconds: number, serial?: boolean): Promise<Change>
  /**
   * Tells a gateway that the name is pulled and that the Build that waits for that shall go, and waits a little, as above.
   * @param serial as above; where others wait the gateway is told nothing new.
   */
  demand(name: string, at: string, milliseconds: number, serial?: boolean): Promise<Change>
}

/** Another gateway may be the one that has the build, and knows its end first: milliseconds between two questions to all. */
const demandFor = 2000

/** Milliseconds that a gateway has for its answer when the time is over for which it was to hold it. */
export const answering = 1000

export interface LookupsOptions {
  readonly gateways: Gateways
  /** So long the others have after the first answer, in milliseconds. Default 15. */
  readonly patience?: number
  /**
   * So long all may take together while those that have answered know of nothing. Default 250: the gateway that relays the build
   * of the name is the busiest, and without its word the pull would go on to a registry. Where all answer nobody waits.
   */
  readonly none?: number
  /** So long the first may take. Default as `none`: a gateway that is so late is left out until it has answered. */
  readonly first?: number
}

export function createLookups({ gateways, patience = 15, none = 250, first = none }: LookupsOptions): Lookups {
  const late = new Set<string>()

  const get = async (address: string, path: string, signal: AbortSignal): Promise<Lookup | undefined> => {
    const answer = await gateways.get(address, path, signal).catch(() => undefined)
    const lookup = parseLookup(answer)
    if (lookup) late.delete(address)
    return lookup
  }
  return {
    async ask(wanted, words = new Map()) {
      const path = `${gatewayPaths.lookup}?${new URLSearchParams({ ...wanted }).toString()}`
      const connected = gateways.connected()
      const asked = connected.filter((address) => !late.has(address))
      const answers = new Map<string, Lookup>()
      const over = Promise.withResolvers<void>()
      let timer = setTimeout(over.resolve, asked.length === 0 ? 0 : first)
      const pending = new Set(asked)
      let told = false
      const begun = performance.now()
      const one = async (address: string): Promise<void> => {
        const lookup = await get(address, path, AbortSignal.timeout(5000))
        late.delete(address)
        pending.delete(address)
        if (lookup) answers.set(address, lookup)
        if (pending.size === 0) return over.resolve()
        if (!lookup || told) return
        told = lookup.state !== 'none'
        clearTimeout(timer)
        timer = setTimeout(over.resolve, told ? patience : Math.max(patience, none - (performance.now() - begun)))
      }
      for (const address of asked) void one(address)
      await over.promise
      clearTimeout(timer)
      for (const address of pending) late.add(address)
      for (const [address, word] of words) {
        if (connected.includes(address) && !answers.has(address)) answers.set(address, word)
      }
      const unheard = connected.filter((address) => !answers.has(address))
      return { ...joinAnswers(answers), ...(unheard.length > 0 ? { unheard } : {}) }
    },
    async change(name, by, milliseconds, serial = false) {
      const wait = String(Math.min(milliseconds, 25_000))
      const query = new URLSearchParams({ name, wait, ...(serial ? { serial: '1' } : {}) })
      const begun = performance.now()
      const ended = new AbortController()
      const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(milliseconds + answering)])
      const answers = by.map(async (from) => {
        const word = await get(from, `${gatewayPaths.lookup}?${query.toString()}`, signal)
        return word ? { from, word } : Promise.reject(new Error('this gateway says nothing'))
      })
      const change = await Promise.any(answers).catch(() => ({}))
      // Those that cannot be asked are not asked again at once.
      if (!('word' in change)) await sleep(Math.max(0, Math.min(milliseconds, 500) - (performance.now() - begun)))
      ended.abort(new Error('another gateway has answered'))
      return change
    },
    async demand(name, at, milliseconds, serial = false) {
      const wait = Math.min(milliseconds, demandFor)
      const query = new URLSearchParams({ name, wait: String(wait), demand: '1', ...(serial ? { serial: '1' } : {}) })
      const begun = performance.now()
      const path = `${gatewayPaths.lookup}?${query.toString()}`
      const word = await get(at, path, AbortSignal.timeout(wait + answering))
      // One that cannot be asked is not asked again at once.
      if (!word) await sleep(Math.max(0, Math.min(wait, 500) - (performance.now() - begun)))
      return word ? { from: at, word } : {}
    },
  }
}

/** Of two images of a name the one with the higher version is newer; of two with one version, the higher digest. */
export const isNewer = (a: BuiltImage, b: BuiltImage): boolean =>
  a.version === b.version ? a.digest > b.digest : a.version > b.version

/**
 * Building anywhere means building; else the newest image, with everybody who has it in the order given. Gateways hear of
 * a new image one after the other, so that one has it counts more than that another would have it built.
 */
export function joinAnswers(answers: ReadonlyMap<string, Lookup>): Word {
  if (answers.size === 0) return { state: 'unreachable' }
  const by = [...answers].flatMap(([address, lookup]) => (lookup.state === 'building' ? [address] : []))
  if (by.length > 0) return { state: 'building', by }
  const here = [...answers.values()].filter((lookup) => lookup.state === 'here')
  if (here.length === 0) {
    const failed = [...answers.values()].find((lookup) => lookup.state === 'failed')
    if (failed) return failed
    // All agents tell the same one.
    const [ask] = [...answers].flatMap(([address, lookup]) => (lookup.state === 'onPull' ? [address] : [])).toSorted()
    return ask === undefined ? { state: 'none' } : { state: 'onPull', ask }
  }
  const image = here.map((lookup) => lookup.image).reduce((a, b) => (isNewer(b, a) ? b : a))
  const peers = new Map<string, Peer>()
  for (const lookup of here) {
    if (lookup.image.digest !== image.digest) continue
    for (const peer of lookup.peers) if (!peers.has(peer.node)) peers.set(peer.node, peer)
  }
  return { state: 'here', image, peers: [...peers.values()] }
}

function parseLookup(value: unknown): Lookup | undefined {
  const lookup = value as Lookup | undefined
  if (lookup?.state !== 'here') return lookup && states.includes(lookup.state) ? lookup : undefined
  return typeof lookup.image?.digest === 'string' && Array.isArray(lookup.peers) ? lookup : undefined
}

const states: readonly string[] = ['building', 'failed', 'onPull', 'none']
