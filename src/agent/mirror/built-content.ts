import type { BuiltImage } from '../../api/images.ts'
import type { ContentStore } from './content.ts'
import { type Descriptor, isManifestType, parseManifest } from './manifest.ts'

/** The records of what insitu built (or delivered) on this node. */
export interface BuiltRecords {
  /** By normalised name, `docker.io/library/app:latest`. */
  find(name: string): BuiltImage | undefined
  list(): readonly BuiltImage[]
  /** Changes with every change of the list. */
  revision(): number
  /** The node's containerd fetches this image: it is recorded when it is there. */
  arriving?(image: BuiltImage): Promise<void>
  /** … and this of an image: it is kept where containerd would drop it once it is unpacked. */
  readonly arrivingContent?: ((digest: string) => Promise<void>) | undefined
}

/** Which content belongs to built images: a digest that somebody guesses opens nothing else. */
export interface BuiltContent {
  /** The descriptor by which a built image refers to the digest, or undefined when none does. */
  descriptor(digest: string): Promise<Descriptor | undefined>
}

/** Milliseconds for which a replaced image is still served: a pull of it may be under way. */
const linger = 900_000

/** Milliseconds after which an image of which a manifest is not here is looked at again: it may have come. */
const again = 1000

interface Tree {
  readonly members: ReadonlyMap<string, Descriptor>
  /** Whether all manifests are here: those of other platforms often never come. */
  readonly whole: boolean
  until: number
}

export function builtContent(records: BuiltRecords, store: ContentStore, now: () => number = Date.now): BuiltContent {
  const trees = new Map<string, Tree>()
  let seen: number | undefined
  let reading: Promise<void> | undefined
  let partsSeen = 0

  const refresh = async (): Promise<void> => {
    const revision = records.revision()
    const listed = new Set(records.list().map((image) => image.digest))
    for (const [root, tree] of trees) {
      if (listed.has(root)) tree.until = now() + linger
      else if (tree.until < now()) trees.delete(root)
    }
    let complete = true
    for (const root of listed) {
      if (trees.get(root)?.whole === true) continue
      const { members, whole } = await walk(root, store)
      // Its record may be older than the end of its copy to this node: it is looked at again with the next question.
      if (members.size === 0) complete = false
      else trees.set(root, { members, whole, until: now() + linger })
    }
    partsSeen = now()
    if (complete) seen = revision
  }
  const isStale = (): boolean =>
    records.revision() !== seen || (now() - partsSeen >= again && [...trees.values()].some(({ whole }) => !whole))
  return {
    async descriptor(digest) {
      // One that is under way may have listed the records before the one that is asked for was among them.
      if (isStale()) await reading
      if (isStale()) await (reading ??= refresh().finally(() => (reading = undefined)))
      for (const { members } of trees.values()) {
        const found = members.get(digest)
        if (found) return found
      }
      return undefined
    },
  }
}

/** All that an image refers to. Manifests of platforms that are not on this node have no known parts. */
export async function walk(root: string, store: ContentStore): Promise<Pick<Tree, 'members' | 'whole'>> {
  const members = new Map<string, Descriptor>()
  let whole = true
  const visit = async (digest: string): Promise<void> => {
    const bytes = await store.read(digest).catch(() => undefined)
    if (!bytes) return void (whole = false)
    const { mediaType, children } = parseManifest(bytes)
    members.set(digest, { mediaType, digest, size: bytes.length })
    for (const child of children) {
      if (members.has(child.digest)) continue
      members.set(child.digest, child)
      if (isManifestType(child.mediaType)) await visit(child.digest)
    }
  }
  await visit(root).catch(() => undefined)
  return { members, whole }
}
