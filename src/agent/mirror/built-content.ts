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
}

/** Which content belongs to built images: a digest that somebody guesses opens nothing else. */
export interface BuiltContent {
  /** The descriptor by which a built image refers to the digest, or undefined when none does. */
  descriptor(digest: string): Promise<Descriptor | undefined>
}

/** Milliseconds for which a replaced image is still served: a pull of it may be under way. */
const linger = 900_000

interface Tree {
  readonly members: ReadonlyMap<string, Descriptor>
  until: number
}

export function builtContent(records: BuiltRecords, store: ContentStore, now: () => number = Date.now): BuiltContent {
  const trees = new Map<string, Tree>()
  let seen: number | undefined
  let reading: Promise<void> | undefined

  const refresh = async (): Promise<void> => {
    const revision = records.revision()
    const listed = new Set(records.list().map((image) => image.digest))
    for (const [root, tree] of trees) {
      if (listed.has(root)) tree.until = now() + linger
      else if (tree.until < now()) trees.delete(root)
    }
    let complete = true
    for (const root of listed) {
      if (trees.has(root)) continue
      const members = await walk(root, store)
      // Its record may be older than the end of its copy to this node: it is looked at again with the next question.
      if (members.size === 0) complete = false
      else trees.set(root, { members, until: now() + linger })
    }
    if (complete) seen = revision
  }
  return {
    async descriptor(digest) {
      if (records.revision() !== seen) {
        reading ??= refresh().finally(() => (reading = undefined))
        await reading
      }
      for (const { members } of trees.values()) {
        const found = members.get(digest)
        if (found) return found
      }
      return undefined
    },
  }
}

/** All that an image refers to. Manifests of platforms that are not on this node have no known parts. */
async function walk(root: string, store: ContentStore): Promise<Map<string, Descriptor>> {
  const members = new Map<string, Descriptor>()
  const visit = async (digest: string): Promise<void> => {
    const bytes = await store.read(digest).catch(() => undefined)
    if (!bytes) return
    const { mediaType, children } = parseManifest(bytes)
    members.set(digest, { mediaType, digest, size: bytes.length })
    for (const child of children) {
      if (members.has(child.digest)) continue
      members.set(child.digest, child)
      if (isManifestType(child.mediaType)) await visit(child.digest)
    }
  }
  await visit(root).catch(() => undefined)
  return members
}
