/**
 * Which nodes have which image that insitu did not build, by digest. There are few such images and many copies: each
 * digest is kept once, and a copy costs no more than an entry of a set.
 */
export interface OrdinaryImages {
  /** All digests that a node has as of now. */
  set(node: string, digests: readonly string[]): void
  /** At most so many of the nodes that have it, from any place in their order. */
  holders(digest: string, most: number): readonly string[]
  readonly size: { readonly digests: number; readonly copies: number }
}

interface Entry {
  readonly digest: string
  readonly nodes: Set<string>
}

/** @param random 0 ≤ x < 1. */
export function createOrdinaryImages(random: () => number = Math.random): OrdinaryImages {
  const digests = new Map<string, Entry>()
  const nodes = new Map<string, readonly Entry[]>()
  let copies = 0

  const entryOf = (digest: string): Entry => {
    const known = digests.get(digest)
    if (known) return known
    const made = { digest, nodes: new Set<string>() }
    digests.set(digest, made)
    return made
  }
  return {
    set(node, list) {
      const entries = [...new Set(list)].map(entryOf)
      const keep = new Set(entries)
      for (const entry of nodes.get(node) ?? []) {
        if (keep.has(entry)) continue
        entry.nodes.delete(node)
        copies -= 1
        if (entry.nodes.size === 0) digests.delete(entry.digest)
      }
      for (const entry of entries) {
        if (entry.nodes.has(node)) continue
        entry.nodes.add(node)
        copies += 1
      }
      if (entries.length === 0) nodes.delete(node)
      else nodes.set(node, entries)
    },
    holders(digest, most) {
      const all = [...(digests.get(digest)?.nodes ?? [])]
      if (all.length <= most) return all
      const first = Math.floor(random() * all.length)
      return Array.from({ length: most }, (_, i) => all[(first + i) % all.length] as string)
    },
    get size() {
      return { digests: digests.size, copies }
    },
  }
}
