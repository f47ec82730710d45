import type { BuiltImage } from '../../api/images.ts'
import { repositoryOf } from '../../buildkit/reference.ts'

/** Which node has which built image. Nothing here waits or does I/O. */
export interface ImageIndex {
  /** The newest image of a (normalised) name. */
  newest(name: string): BuiltImage | undefined
  /** Nodes that have exactly this image under its name. */
  holders(image: BuiltImage): readonly string[]
  /** Nodes that have the name with an older image, and which. */
  stale(name: string): readonly { readonly node: string; readonly image: BuiltImage }[]
  /** The newest image with this digest in a repository, else the newest of the repository: its nodes may have the blob. */
  byDigest(repository: string, digest: string): BuiltImage | undefined
  /** A version for an image that was built now: not below the clock, above all that is known of the name, and new. */
  nextVersion(name: string): number
  /** A node has an image as of now, whatever its inventory said before; unless it is known to have a newer one. */
  add(node: string, image: BuiltImage): void
  /** A node has no copy of the name any more that is older than this version. A newer one stays. */
  remove(node: string, name: string, version: number): void
  /** Starts to read a node's inventory. @returns a function that takes what was read; what was added since stays. */
  reading(node: string): (images: readonly BuiltImage[]) => void
  /** A node is gone with all it had. */
  forget(node: string): void
  /** Told every name of which something changed. @returns a function that ends it. */
  onChange(listener: (name: string) => void): () => void
  names(): Iterable<string>
  /** Images of a node, for inspection. */
  of(node: string): readonly BuiltImage[]
  readonly size: { readonly names: number; readonly copies: number; readonly nodes: number }
}

export interface ImageIndexOptions {
  /** Milliseconds since 1970. */
  readonly now?: () => number
}

interface Name {
  /** By node. Nodes with the same image share the object: 5,000 nodes have few images and many copies. */
  readonly copies: Map<string, BuiltImage>
  newest: BuiltImage
}

/** The newer of two images of a name wins; of two with one version, which two gateways may give, the higher digest. */
export const isNewer = (a: BuiltImage, b: BuiltImage): boolean =>
  a.version === b.version ? a.digest > b.digest : a.version > b.version

const same = (a: BuiltImage, b: BuiltImage): boolean => a.version === b.version && a.digest === b.digest

export function createImageIndex({ now = Date.now }: ImageIndexOptions = {}): ImageIndex {
  const names = new Map<string, Name>()
  const nodes = new Map<string, Set<string>>()
  const repositories = new Map<string, Set<string>>()
  const reads = new Map<string, Set<Set<string>>>()
  const listeners = new Set<(name: string) => void>()
  let copies = 0
  let given = 0

  const changed = (name: string): void => {
    for (const listener of listeners) listener(name)
  }
  const put = (node: string, image: BuiltImage): boolean => {
    const known = names.get(image.name)
    const before = known?.copies.get(node)
    if (before && same(before, image)) return false
    const shared = known && same(known.newest, image) ? known.newest : image
    if (known) {
      known.copies.set(node, shared)
      if (isNewer(shared, known.newest)) known.newest = shared
      else if (before && same(before, known.newest)) renew(known)
    } else {
      names.set(image.name, { copies: new Map([[node, image]]), newest: image })
      collect(repositories, repositoryOf(image.name), image.name)
    }
    if (!before) copies += 1
    collect(nodes, node, image.name)
    return true
  }
  const take = (node: string, name: string): boolean => {
    const known = names.get(name)
    const before = known?.copies.get(node)
    if (!known || !before) return false
    known.copies.delete(node)
    copies -= 1
    nodes.get(node)?.delete(name)
    if (known.copies.size > 0) {
      if (same(before, known.newest)) renew(known)
      return true
    }
    names.delete(name)
    const repository = repositoryOf(name)
    const left = repositories.get(repository)
    left?.delete(name)
    if (left?.size === 0) repositories.delete(repository)
    return true
  }
  const renew = (known: Name): void => {
    const all = [...known.copies.values()]
    known.newest = all.reduce((a, b) => (isNewer(b, a) ? b : a))
  }
  const newest = (name: string): BuiltImage | undefined => names.get(name)?.newest

  return {
    newest,
    holders(image) {
      const found = names.get(image.name)?.copies ?? new Map<string, BuiltImage>()
      return [...found].flatMap(([node, copy]) => (same(copy, image) ? [node] : []))
    },
    stale(name) {
      const known = names.get(name)
      if (!known) return []
      return [...known.copies].flatMap(([node, image]) => (same(image, known.newest) ? [] : [{ node, image }]))
    },
    byDigest(repository, digest) {
      let found: BuiltImage | undefined
      let last: BuiltImage | undefined
      for (const name of repositories.get(repository) ?? []) {
        for (const image of names.get(name)?.copies.values() ?? []) {
          if (!last || isNewer(image, last)) last = image
          if (image.digest === digest && (!found || isNewer(image, found))) found = image
        }
      }
      return found ?? last
    },
    nextVersion: (name) => (given = Math.max(now(), (newest(name)?.version ?? 0) + 1, given + 1)),
    add(node, image) {
      const before = names.get(image.name)?.copies.get(node)
      if (before && isNewer(before, image)) return
      for (const read of reads.get(node) ?? []) read.add(image.name)
      if (put(node, image)) changed(image.name)
    },
    remove(node, name, version) {
      const copy = names.get(name)?.copies.get(node)
      if (!copy || copy.version >= version) return
      for (const read of reads.get(node) ?? []) read.add(name)
      if (take(node, name)) changed(name)
    },
    reading(node) {
      const touched = new Set<string>()
      const open = reads.get(node) ?? new Set()
      reads.set(node, open.add(touched))
      return (images) => {
        open.delete(touched)
        if (open.size === 0 && reads.get(node) === open) reads.delete(node)
        const said = new Map(images.filter((i) => !touched.has(i.name)).map((i) => [i.name, i]))
        for (const name of nodes.get(node) ?? []) {
          if (!said.has(name) && !touched.has(name) && take(node, name)) changed(name)
        }
        for (const image of said.values()) if (put(node, image)) changed(image.name)
        if (!nodes.has(node)) nodes.set(node, new Set())
      }
    },
    forget(node) {
      for (const name of nodes.get(node) ?? []) if (take(node, name)) changed(name)
      nodes.delete(node)
    },
    onChange(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    names: () => names.keys(),
    of: (node) => [...(nodes.get(node) ?? [])].flatMap((name) => names.get(name)?.copies.get(node) ?? []),
    get size() {
      return { names: names.size, copies, nodes: nodes.size }
    },
  }
}

function collect(index: Map<string, Set<string>>, key: string, value: string): void {
  const set = index.get(key)
  if (set) set.add(value)
  else index.set(key, new Set([value]))
}
