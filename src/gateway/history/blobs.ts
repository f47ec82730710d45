/** A blob that a build of somebody returned. */
export interface KnownBlob {
  readonly node: string
  readonly mediaType: string
  /** Its digest on the node, where clients know it by another: it is changed on its way to them. */
  readonly original?: string
}

/**
 * Which blobs whose builds returned, and where they are: what was seen in records on their way. Forgets the longest
 * unused; what it does not know is looked up again.
 */
export interface Blobs {
  note(owner: string, digest: string, blob: KnownBlob): void
  find(owner: string, digest: string): KnownBlob | undefined
}

export function createBlobs(limit = 20_000): Blobs {
  const known = new Map<string, KnownBlob>()
  const key = (owner: string, digest: string): string => `${owner}\0${digest}`
  const put = (id: string, blob: KnownBlob): void => {
    known.delete(id)
    known.set(id, blob)
    if (known.size <= limit) return
    for (const oldest of known.keys()) {
      known.delete(oldest)
      break
    }
  }
  return {
    note: (owner, digest, blob) => put(key(owner, digest), blob),
    find(owner, digest) {
      const id = key(owner, digest)
      const blob = known.get(id)
      if (blob) put(id, blob)
      return blob
    },
  }
}
