import type { ClusterView } from './cluster.ts'
import { cannotBuild, isNative, unwelcoming, type Rejection } from './fitness.ts'
import { hash, type Candidate } from './score.ts'

/** The nodes a build for some platforms can go to if nothing draws it to a particular one. */
export interface Pool {
  readonly candidates: readonly Candidate[]
  readonly rejected: readonly Rejection[]
}

export type Pools = (platforms: readonly string[]) => Pool

type Nodes = Pick<ClusterView, 'nodes' | 'agents'>

export function poolOf(view: Nodes, platforms: readonly string[]): Pool {
  const candidates: Candidate[] = []
  const rejected: Rejection[] = []
  for (const name of new Set([...view.nodes.keys(), ...view.agents.keys()])) {
    const node = view.nodes.get(name)
    const rejection = cannotBuild(view, name, platforms) ?? (node && unwelcoming(node))
    if (rejection) rejected.push(rejection)
    else candidates.push(candidate(view, name, platforms))
  }
  return { candidates, rejected }
}

export function candidate(view: Nodes, node: string, platforms: readonly string[]): Candidate {
  const facts = view.nodes.get(node)
  return { node, native: facts ? platforms.filter((p) => isNative(facts, p)).length : 0, hash: hash(node) }
}

/**
 * Remembers pools until a node or agent changes: looking at 5,000 nodes takes milliseconds, and builds come far more
 * often than nodes change.
 * @param generation changes whenever nodes or agents do
 */
export function rememberPools(view: Nodes, generation: () => number): Pools {
  let known = new Map<string, Pool>()
  let of = Number.NaN
  return (platforms) => {
    if (of !== generation()) {
      known = new Map()
      of = generation()
    }
    const key = platforms.join()
    let pool = known.get(key)
    if (!pool) {
      // Platforms are the clients' words: they must not fill the memory.
      if (known.size >= 32) known.clear()
      pool = poolOf(view, platforms)
      known.set(key, pool)
    }
    return pool
  }
}
