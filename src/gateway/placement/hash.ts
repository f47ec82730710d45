import { createHash } from 'node:crypto'

/**
 * Rendezvous hashing: every gateway replica gives the same node the highest weight for a key, and a node that comes
 * or goes moves only its own keys. (Thaler and Ravishankar, "A Name-Based Mapping Scheme for Rendezvous", 1996.)
 */
export function cacheWeight(keyHash: number, nodeHash: number): number {
  // Finalizer of MurmurHash3 (public domain): spreads the combined bits evenly.
  let h = Math.imul(keyHash ^ nodeHash, 0x85ebca6b)
  h ^= h >>> 13
  h = Math.imul(h, 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/** FNV-1a, 32 bits. */
export function hash(text: string): number {
  let h = 0x811c9dc5
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  return h >>> 0
}

/**
 * Nodes in the order of their weights for a key, by a hash without patterns. For a few nodes, at the pace of builds;
 * a large cluster is scored with `cacheWeight`.
 */
export function heaviestFirst(names: readonly string[], key: string): string[] {
  const weight = (name: string): string => createHash('sha256').update(`${key}\0${name}`).digest('hex')
  return names
    .map((name) => ({ name, weight: weight(name) }))
    .toSorted((a, b) => (a.weight < b.weight ? 1 : -1))
    .map(({ name }) => name)
}
