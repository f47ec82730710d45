import { builtLabel } from '../images/pins.ts'
import type { Stored, StoredImage } from './reach.ts'

/** `docker.io/team/app:v1@sha256:…` → `docker.io/team/app`; names without a repository (digests) stay. */
export const repositoryOf = (name: string): string =>
  name.startsWith('sha256:') ? name : name.replace(/@.*$/, '').replace(/:[^:/]*$/, '')

/** CRI gives each image that it knows a second name, by the digest of its configuration. */
const isAlias = (image: StoredImage): boolean => image.name.startsWith('sha256:')

export const untagged = '<untagged>'

/** The repository that an image counts with: CRI's name counts with the proper one, if there is one. */
export function repositoryNames(images: readonly StoredImage[]): (image: StoredImage) => string {
  const of = new Map(images.filter((image) => !isAlias(image)).map((i) => [i.digest, repositoryOf(i.name)]))
  return (image) => (isAlias(image) ? (of.get(image.digest) ?? untagged) : repositoryOf(image.name))
}

/** The names that people know, and CRI's where no other is left. */
export function properImages(images: readonly StoredImage[]): StoredImage[] {
  const named = new Set(images.filter((image) => !isAlias(image)).map((image) => image.digest))
  return images.filter((image) => !isAlias(image) || !named.has(image.digest))
}

/** CRI names what it pulls by the manifest's digest as well, in the repository of the name that was asked for. */
const isByDigest = (image: StoredImage): boolean => image.name.includes('@')

/** A name by digest that insitu built: it is no reason of its own to keep the image. */
const isBuilt = (image: StoredImage): boolean => isByDigest(image) && builtLabel in image.labels

const inRepository = (image: StoredImage): string => `${repositoryOf(image.name)}@${image.digest}`

/**
 * The names that have to go so that these images are gone: with the last tag of a digest in its repository CRI's name
 * of that repository, and with the last proper name of a digest CRI's name for it. What is pinned stays.
 */
export function namesToRemove(images: readonly StoredImage[], removed: readonly StoredImage[]): string[] {
  const names = new Set(removed.map((image) => image.name))
  const tagged = new Set(images.filter((i) => !isByDigest(i) && !names.has(i.name)).map(inRepository))
  const digests = new Set(removed.map((image) => image.digest))
  const repositories = new Set(removed.map(inRepository))
  for (const image of images) {
    if (!isByDigest(image) || isPinned(image) || tagged.has(inRepository(image))) continue
    if (repositories.has(inRepository(image)) || (isBuilt(image) && digests.has(image.digest))) names.add(image.name)
  }
  const kept = new Set(images.filter((i) => !isAlias(i) && !names.has(i.name)).map((image) => image.digest))
  for (const image of images) {
    if (isAlias(image) && digests.has(image.digest) && !kept.has(image.digest)) names.add(image.name)
  }
  return [...names]
}

export const isPinned = (image: StoredImage): boolean => image.labels['io.cri-containerd.pinned'] === 'pinned'

/** The blobs that an image's labels lead to, and the snapshots that they are unpacked to. */
function contentOf(stored: Stored, snapshotter: string, digest: string) {
  const blobs = new Set<string>()
  const snapshots = new Set<string>()
  const todo = [digest]
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    const blob = stored.blobs.get(next)
    if (!blob || blobs.has(next)) continue
    blobs.add(next)
    for (const [key, value] of Object.entries(blob.labels)) {
      if (key.startsWith('containerd.io/gc.ref.content')) todo.push(value)
      else if (key.startsWith(`containerd.io/gc.ref.snapshot.${snapshotter}`)) snapshots.add(value)
    }
  }
  return { blobs, snapshots }
}

/**
 * Digests of the images that containers run: by the name that they were started from, and by the snapshot that they
 * stand on, whatever the name means now.
 */
export function imagesInUse(stored: Stored, snapshotter: string): ReadonlySet<string> {
  const digests = new Map(stored.images.map((image) => [image.name, image.digest]))
  const used = new Set(stored.containers.flatMap(({ image }) => digests.get(image) ?? []))
  const below = new Set(stored.containers.flatMap((c) => stored.snapshots.get(c.snapshotKey)?.parent ?? []))
  for (const { digest } of stored.images) {
    if (used.has(digest)) continue
    const { snapshots } = contentOf(stored, snapshotter, digest)
    if ([...snapshots].some((snapshot) => below.has(snapshot))) used.add(digest)
  }
  return used
}

/** Whether BuildKit wrote it on this node: it marks the layers that it makes, and what is pulled names its source. */
function madeHere(stored: Stored, snapshotter: string, digest: string): boolean {
  const labels = Object.keys(stored.blobs.get(digest)?.labels ?? {})
  if (labels.some((key) => key.startsWith('containerd.io/distribution.source'))) return false
  const { blobs } = contentOf(stored, snapshotter, digest)
  return [...blobs].some((blob) =>
    Object.keys(stored.blobs.get(blob)?.labels ?? {}).some((key) => key.startsWith('buildkit.io/blob/')),
  )
}

export interface RemovableImages {
  /** Built by insitu, and their name went to a newer build: only CRI's names by digest are left. */
  readonly untagged: readonly StoredImage[]
  /** Built images with a name. */
  readonly named: readonly StoredImage[]
}

/** Images that nothing runs and nothing protects, oldest first. Those that insitu did not build are never among them. */
export function removableImages(stored: Stored, snapshotter: string, built: ReadonlySet<string>): RemovableImages {
  const used = imagesInUse(stored, snapshotter)
  const free = stored.images
    .filter((image) => !isPinned(image) && !used.has(image.digest))
    .toSorted((a, b) => a.updatedAt - b.updatedAt)
  const named = stored.images.filter((image) => !isAlias(image) && !(isBuilt(image) && !isPinned(image)))
  const tagged = new Set(named.map((image) => image.digest))
  const delivered = new Set(stored.images.filter(isBuilt).map((image) => image.digest))
  const ours = (digest: string): boolean => delivered.has(digest) || madeHere(stored, snapshotter, digest)
  return {
    untagged: free.filter((image) => isAlias(image) && !tagged.has(image.digest) && ours(image.digest)),
    named: free.filter((image) => built.has(image.name)),
  }
}
