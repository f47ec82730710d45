import { gatewayPaths } from '../../api/agent-api.ts'
import type { BuiltImage, Lookup, Peer } from '../../api/images.ts'
import type { Gateways } from './gateways.ts'

/** A name, or a digest in a repository; both normalised. `ordinary`: also of images that insitu did not build. */
export type Wanted =
  { readonly name: string } | { readonly repository: string; readonly digest: string; readonly ordinary?: '1' }

/** What all gateways together say. */
export type Joined =
  | { readonly state: 'here'; readonly image: BuiltImage; readonly peers: readonly Peer[] }
  /** `by` are the gateways that relay the build. */
  | { readonly state: 'building'; readonly by: readonly string[] }
  | { readonly state: 'none' }
  /** No gateway answered: only what is on this node is known. */
  | { readonly state: 'unreachable' }

export interface Lookups {
  ask(wanted: Wanted): Promise<Joined>
  /**
   * Waits until something happened to the builds of a name, at the gateways that relay them.
   * @returns why a build failed, if one did.
   */
  change(name: string, by: readonly string[], milliseconds: number): Promise<string | undefined>
}

export interface LookupsOptions {
  readonly gateways: Gateways
  /** So long the others have after the first answer, in milliseconds. Default 15. */
  readonly patience?: number
  /** So long the first may take. Default 150: a gateway that is so late is left out until it has answered. */
  readonly first?: number
}

export function createLookups({ gateways, patience = 15, first = 150 }: LookupsOptions): Lookups {
  const late = new Set<string>()

  const get = async (address: string, path: string, signal: AbortSignal): Promise<Lookup | undefined> => {
    const answer = await gateways.get(address, path, signal).catch(() => undefined)
    return parseLookup(answer)
  }
  return {
    async ask(wanted) {
      const path = `${gatewayPaths.lookup}?${new URLSearchParams({ ...wanted }).toString()}`
      const asked = gateways.connected().filter((address) => !late.has(address))
      const answers = new Map<string, Lookup>()
      const over = Promise.withResolvers<void>()
      let timer = setTimeout(over.resolve, asked.length === 0 ? 0 : first)
      let missing = asked.length
      const one = async (address: string): Promise<void> => {
        const lookup = await get(address, path, AbortSignal.timeout(5000))
        late.delete(address)
        missing -= 1
        if (lookup) answers.set(address, lookup)
        if (missing === 0) over.resolve()
        else if (answers.size === 1 && lookup) {
          clearTimeout(timer)
          timer = setTimeout(over.resolve, patience)
        }
      }
      for (const address of asked) void one(address)
      await over.promise
      clearTimeout(timer)
      if (missing > 0) for (const address of asked) if (!answers.has(address)) late.add(address)
      return joinAnswers(answers)
    },
    async change(name, by, milliseconds) {
      const query = new URLSearchParams({ name, wait: String(Math.min(milliseconds, 25_000)) })
      const ended = new AbortController()
      const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(milliseconds + 1000)])
      const answers = by.map((address) => get(address, `${gatewayPaths.lookup}?${query.toString()}`, signal))
      const lookup = await Promise.race(answers)
      ended.abort(new Error('another gateway has answered'))
      return lookup?.state === 'failed' ? lookup.reason : undefined
    },
  }
}

/** Of two images of a name the one with the higher version is newer; of two with one version, the higher digest. */
export const isNewer = (a: BuiltImage, b: BuiltImage): boolean =>
  a.version === b.version ? a.digest > b.digest : a.version > b.version

/** Building anywhere means building; else the newest image, with everybody who has it in the order given. */
export function joinAnswers(answers: ReadonlyMap<string, Lookup>): Joined {
  if (answers.size === 0) return { state: 'unreachable' }
  const by = [...answers].flatMap(([address, lookup]) => (lookup.state === 'building' ? [address] : []))
  if (by.length > 0) return { state: 'building', by }
  const here = [...answers.values()].filter((lookup) => lookup.state === 'here')
  if (here.length === 0) return { state: 'none' }
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

const states: readonly string[] = ['building', 'failed', 'none']
