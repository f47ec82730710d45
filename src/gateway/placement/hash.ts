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
