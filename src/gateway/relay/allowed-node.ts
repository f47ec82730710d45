import { InsituError } from '../../kernel/errors.ts'
import type { Directory } from '../directory/directory.ts'
import { heaviestFirst } from '../placement/hash.ts'
import type { Placement } from '../placement/placer.ts'

export interface Allowed {
  readonly allows: (node: string) => boolean
  /** Whether the build would have to wait for its turn there. */
  readonly full: (node: string) => boolean
  readonly directory: Directory
  readonly cacheKey: string
}

/**
 * Places a build whose caller may not use every node: where placement wants it if that is allowed, else on an allowed
 * node that can do it, for builds of the same cache key the same one while it has room. Without any the first placement
 * stays, and the policy refuses it.
 * @param place with a node: checks that this one can do it.
 */
export async function placeAllowed(
  { allows, full, directory, cacheKey }: Allowed,
  wanted: string | undefined,
  place: (node: string | undefined) => Promise<Placement>,
): Promise<Placement> {
  const first = await place(wanted)
  if (wanted !== undefined || allows(first.node)) return first
  const others = directory.nodes().flatMap(({ name, ready }) => (ready && allows(name) ? [name] : []))
  const warmest = heaviestFirst(others, cacheKey)
  for (const name of warmest.toSorted((a, b) => Number(full(a)) - Number(full(b)))) {
    try {
      const reason = `the policy does not allow node ${first.node} (${first.reason})`
      return { ...(await place(name)), rule: first.rule, targets: first.targets, reason }
    } catch (error) {
      if (!(error instanceof InsituError)) throw error
    }
  }
  return first
}
