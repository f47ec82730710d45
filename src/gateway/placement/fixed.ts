import type { Directory } from '../directory/directory.ts'
import { InsituError } from '../../kernel/errors.ts'
import { heaviestFirst } from './hash.ts'
import type { Placement, PlacementRequest, Placer } from './placer.ts'

export interface FixedPlacerOptions {
  readonly directory: Directory
  /** Builds that run on a node now. */
  readonly running: (node: string) => number
  /** Why a node takes no builds now. Default: all of them do, as nothing is known of fixed nodes. */
  readonly notReady?: (node: string) => string | undefined
}

/** Places builds on fixed nodes: the one that is said, else the warm one unless others are clearly less busy. */
export function createFixedPlacer({ directory, running, notReady = () => undefined }: FixedPlacerOptions): Placer {
  const place = (request: PlacementRequest): Placement => {
    const { node, workload, platforms, nativeOnly = false } = request
    const nodes = directory.nodes().filter(({ native }) => !nativeOnly || platforms.every((p) => native?.includes(p)))
    const names = nodes.map((n) => n.name)
    if (workload !== undefined) {
      throw new InsituError('PLACEMENT_FOR', 'insitu.for needs a Kubernetes cluster, this gateway has fixed nodes', {
        status: 'FAILED_PRECONDITION',
        fix: `use insitu.node with one of ${names.join(', ')}`,
      })
    }
    if (node !== undefined) {
      if (!names.includes(node)) {
        throw new InsituError('NODE_UNKNOWN', `there is no node "${node}"`, {
          status: 'NOT_FOUND',
          fix: `use one of ${names.join(', ')}`,
        })
      }
      if (notReady(node) !== undefined) throw cannotBuild([node], notReady)
      return { rule: 'said', node, targets: [node], reason: 'asked for with insitu.node' }
    }
    const ready = names.filter((name) => notReady(name) === undefined)
    if (ready.length === 0 && names.length > 0) throw cannotBuild(names, notReady)
    const chosen = leastBusy(ready, running, request)
    if (chosen === undefined && nativeOnly) throw notNative(platforms, directory)
    if (chosen === undefined) {
      throw new InsituError('NO_NODE', 'this gateway has no nodes', {
        status: 'FAILED_PRECONDITION',
        fix: 'start it with --node NAME=ADDRESS',
      })
    }
    const reason =
      names.length === 1 ? 'the only node' : `one of ${names.length} nodes, ${running(chosen)} builds run there`
    return { rule: 'anywhere', node: chosen, targets: [chosen], reason }
  }
  return {
    // async, so that a refusal is a rejection
    place: async (request) => place(request),
    built: () => Promise.resolve(),
  }
}

function cannotBuild(names: readonly string[], why: (node: string) => string | undefined): InsituError {
  return new InsituError(
    'NODE_CANNOT_BUILD',
    names.map((name) => `node ${name} takes no builds now: ${why(name)}`).join('; '),
    { status: 'FAILED_PRECONDITION', fix: 'run the build again when that is corrected' },
  )
}

function notNative(platforms: readonly string[], directory: Directory): InsituError {
  const known = directory.nodes().flatMap(({ name, native }) => (native ? [`${name} is ${native.join(', ')}`] : []))
  const have = known.length === 0 ? 'what the nodes are is not known' : known.join('; ')
  return new InsituError('NO_NATIVE_NODE', `${platforms.join(', ')} should not be emulated, and ${have}`, {
    status: 'FAILED_PRECONDITION',
    fix: 'leave insitu.emulate=never out',
  })
}

/**
 * The node with the highest hash of (key, node) stays the same while nodes come and go, so its cache is warm. It is
 * left when it runs two builds more than the least busy one, or when the build would have to wait there for its turn.
 */
function leastBusy(
  names: readonly string[],
  running: (node: string) => number,
  { cacheKey, perNode = Infinity }: Pick<PlacementRequest, 'cacheKey' | 'perNode'>,
): string | undefined {
  const least = Math.min(...names.map(running))
  const most = least < perNode ? Math.min(perNode - 1, least + (cacheKey === '' ? 0 : 1)) : least
  const free = names.filter((name) => running(name) <= most)
  return heaviestFirst(free, cacheKey)[0]
}
