import type { Peer, PullRequest } from '../../api/images.ts'
import { repositoryOf } from '../../buildkit/reference.ts'
import { isNewer, type Joined, type Lookups, type Wanted } from './lookups.ts'

/** An image that a gateway brings to this node now. */
export interface Delivery {
  /** Bytes that came from other nodes for its repository since its begin. */
  received(): number
  end(): void
}

/** What gateways have said about deliveries that are under way: where from, and in which order. */
export interface Deliveries {
  readonly begin: (request: PullRequest) => Delivery
  /** Bytes of other nodes for a repository. */
  count(repository: string, bytes: number): void
  /** The nodes that a delivery gave for an image of a repository and what belongs to it; they need no question. */
  readonly peers: (repository: string, root: string) => readonly Peer[]
  /** Lookups that keep to the plans of the deliveries, whichever gateway answers. */
  planned(lookups: Lookups): Lookups
}

export function createDeliveries(): Deliveries {
  const running = new Set<PullRequest & { readonly repository: string; bytes: number }>()
  /** The delivery of an image: of a name the newest one, since two builds of it may be under way. */
  const find = (wanted: Wanted): PullRequest | undefined =>
    [...running]
      .filter(({ image, repository }) =>
        'name' in wanted
          ? image.name === wanted.name
          : repository === wanted.repository && image.digest === wanted.digest,
      )
      .toSorted((a, b) => (isNewer(a.image, b.image) ? -1 : 1))[0]

  const plan = (wanted: Wanted, found: Joined): Joined => {
    const request = find(wanted)
    // A build that is under way is waited for all the same: what comes now would be old at once.
    if (!request || request.peers.length === 0 || found.state === 'building') return found
    const { image, peers } = request
    if (found.state !== 'here') return { state: 'here', image, peers }
    if (found.image.digest === image.digest) return { state: 'here', image, peers: inOrder(peers, found.peers) }
    // Of another digest gateways say the newest image of the repository, which has nothing to do with this one.
    return 'name' in wanted && isNewer(found.image, image) ? found : { state: 'here', image, peers }
  }
  return {
    begin(request) {
      const one = { ...request, repository: repositoryOf(request.image.name), bytes: 0 }
      running.add(one)
      return { received: () => one.bytes, end: () => void running.delete(one) }
    },
    count(repository, bytes) {
      for (const one of running) if (one.repository === repository) one.bytes += bytes
    },
    peers: (repository, root) => find({ repository, digest: root })?.peers ?? [],
    planned: (lookups) => ({
      ask: async (wanted, words) => plan(wanted, await lookups.ask(wanted, words)),
      change: (...args) => lookups.change(...args),
      demand: (...args) => lookups.demand(...args),
    }),
  }
}

/** Those of the plan, then the others. */
const inOrder = (first: readonly Peer[], others: readonly Peer[]): readonly Peer[] => [
  ...first,
  ...others.filter(({ node }) => !first.some((peer) => peer.node === node)),
]
