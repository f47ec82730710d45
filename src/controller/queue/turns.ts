import type { Build } from '../../api/builds/builds.ts'
import { isQueued, isStarted } from '../build/plan.ts'

export interface Limits {
  /** Builds of one namespace that run at once. */
  readonly perNamespace: number
  /** Builds per build node: those that name the node, and on average all of them. What is placed later waits there. */
  readonly perNode: number
}

/** By UID: `true` for those whose turn it is, else what they wait for. */
export type Turns = ReadonlyMap<string, true | string>

/**
 * Whose turn it is: in the order in which they were made, and past those whose namespace or node is full, so that one
 * namespace with a thousand Builds does not keep the others waiting.
 */
export function turns(builds: readonly Build[], buildNodes: number, limits: Limits): Turns {
  const namespaces = new Map<string, number>()
  const nodes = new Map<string, number>()
  let running = 0
  const take = (build: Build): void => {
    const { namespace = '' } = build.metadata ?? {}
    namespaces.set(namespace, (namespaces.get(namespace) ?? 0) + 1)
    if (build.spec.node !== undefined) nodes.set(build.spec.node, (nodes.get(build.spec.node) ?? 0) + 1)
    running += 1
  }
  for (const build of builds) if (isStarted(build)) take(build)
  const most = limits.perNode * buildNodes
  const result = new Map<string, true | string>()
  for (const build of builds.filter(isQueued).toSorted(byAge())) {
    const { namespace = '', uid = '' } = build.metadata ?? {}
    const { node } = build.spec
    const why =
      buildNodes === 0
        ? 'waits for a node that can build'
        : (namespaces.get(namespace) ?? 0) >= limits.perNamespace
          ? `waits: ${limits.perNamespace} Builds of namespace ${namespace} run already`
          : node !== undefined && (nodes.get(node) ?? 0) >= limits.perNode
            ? `waits: ${limits.perNode} Builds run on node ${node} already`
            : running >= most
              ? `waits: ${most} Builds run already`
              : undefined
    if (why === undefined) take(build)
    result.set(uid, why ?? true)
  }
  return result
}

/** Times have whole seconds; names made by a program usually count up. A collator of its own for each pair is slow. */
function byAge(): (a: Build, b: Build) => number {
  const { compare } = new Intl.Collator('en', { numeric: true })
  return (a, b) => {
    const [left, right] = [a.metadata, b.metadata]
    return (
      compare(left?.creationTimestamp ?? '', right?.creationTimestamp ?? '') ||
      compare(left?.namespace ?? '', right?.namespace ?? '') ||
      compare(left?.name ?? '', right?.name ?? '')
    )
  }
}
