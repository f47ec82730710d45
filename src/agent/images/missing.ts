import { createHash } from 'node:crypto'
import { arch } from 'node:process'
import type { ContentStore } from '../mirror/content.ts'

export interface MissingOptions {
  /** To read manifests and configs. Files may outlive what containerd knows of. */
  readonly store: Pick<ContentStore, 'read'>
  /** Whether containerd knows a blob. */
  readonly hasBlob: (digest: string) => Promise<boolean>
  /** Whether the kubelet's snapshotter has a committed snapshot of this name. */
  readonly hasSnapshot: (key: string) => Promise<boolean>
}

/**
 * What a container of an image would miss on this node: the image's name says nothing about it. A layer may be gone as
 * long as its snapshot is there, and the other way round: containerd unpacks it again. Of several variants of one
 * architecture containerd pulls one, the best for its machine: one is enough.
 * @param root digest of a manifest or an index, of which only this node's platform counts.
 * @returns the first digest that is missing, or undefined.
 */
export async function missingOf(root: string, options: MissingOptions): Promise<string | undefined> {
  const parts = await readParts(root, options)
  return typeof parts === 'string' ? parts : missingPart(parts, options)
}

export interface SurveyOptions {
  readonly store: MissingOptions['store']
  /** Digests of all blobs that containerd knows. */
  readonly blobs: () => Promise<ReadonlySet<string>>
  /** Names of all snapshots of the kubelet's snapshotter. */
  readonly snapshots: () => Promise<ReadonlySet<string>>
}

/** As `missingOf`, by lists that were made before. */
export type Survey = (root: string) => Promise<string | undefined>

/**
 * For many images at once: two lists instead of some calls for each image, and of an image that was looked at the last
 * time nothing is read, since content does not change.
 */
export function createSurveys({ store, blobs, snapshots }: SurveyOptions): () => Promise<Survey> {
  let known = new Map<string, readonly ManifestParts[]>()
  return async () => {
    const [content, unpacked] = await Promise.all([blobs(), snapshots()])
    const [before, now] = [known, new Map<string, readonly ManifestParts[]>()]
    known = now
    const options: MissingOptions = {
      store,
      hasBlob: (digest) => Promise.resolve(content.has(digest)),
      hasSnapshot: (key) => Promise.resolve(unpacked.has(key)),
    }
    return async (root) => {
      const read = before.get(root)
      // What was read then may be gone, and another variant here.
      const whole = read && (await missingPart(read, options)) === undefined
      const parts = whole ? read : await readParts(root, options)
      if (typeof parts === 'string') return parts
      now.set(root, parts)
      return whole ? undefined : missingPart(parts, options)
    }
  }
}

/** What a manifest needs, by digests and names of snapshots. */
interface ManifestParts {
  /** From the image's own digest down to the config. */
  readonly documents: readonly string[]
  readonly layers: readonly string[]
  readonly chain: readonly string[]
}

/** @returns what those of this node's manifests need that can be read; where none can, the first document missing. */
async function readParts(
  root: string,
  { store, hasBlob }: Pick<MissingOptions, 'store' | 'hasBlob'>,
): Promise<string | readonly ManifestParts[]> {
  const read = async (digest: string): Promise<Json | undefined> =>
    (await hasBlob(digest))
      ? store.read(digest).then(
          (bytes) => JSON.parse(bytes.toString()) as Json,
          () => undefined,
        )
      : undefined
  const top = await read(root)
  if (!top) return root
  const found: (string | ManifestParts)[] = []
  for (const { digest } of top.manifests ? top.manifests.filter(isOurs) : [{ digest: root }]) {
    const manifest = digest === root ? top : await read(digest)
    const config = manifest?.config && (await read(manifest.config.digest))
    if (!manifest?.config || !config) {
      found.push(manifest?.config?.digest ?? digest)
      continue
    }
    found.push({
      documents: [root, digest, manifest.config.digest],
      layers: (manifest.layers ?? []).map((layer) => layer.digest),
      chain: chainOf(config.rootfs?.diff_ids ?? []),
    })
  }
  const parts = found.filter((one) => typeof one !== 'string')
  const [first] = found
  return parts.length === 0 && typeof first === 'string' ? first : parts
}

/** @returns undefined if there is one that lacks nothing, or if there are none; else what the first lacks. */
async function missingPart(
  parts: readonly ManifestParts[],
  options: Omit<MissingOptions, 'store'>,
): Promise<string | undefined> {
  let first: string | undefined
  for (const part of parts) {
    const missing = await missingOfOne(part, options)
    if (missing === undefined) return undefined
    first ??= missing
  }
  return first
}

async function missingOfOne(
  { documents, layers, chain }: ManifestParts,
  { hasBlob, hasSnapshot }: Omit<MissingOptions, 'store'>,
): Promise<string | undefined> {
  for (const digest of documents) if (!(await hasBlob(digest))) return digest
  // A snapshot keeps its parents.
  const top = chain.at(-1)
  if (top === undefined || (await hasSnapshot(top))) return undefined
  for (const [i, digest] of layers.entries()) {
    if (!(await hasBlob(digest)) && !(await hasSnapshot(chain[i] ?? ''))) return digest
  }
  return undefined
}

/** Names of the snapshots of an image, from the lowest: image-spec, config.md, "Layer ChainID". */
export function chainOf(diffs: readonly string[]): readonly string[] {
  const chain: string[] = []
  for (const diff of diffs) {
    const before = chain.at(-1)
    const text = `${before} ${diff}`
    chain.push(before === undefined ? diff : `sha256:${createHash('sha256').update(text).digest('hex')}`)
  }
  return chain
}

/** The parts of manifests, indexes and configs that matter here. */
interface Json {
  readonly manifests?: readonly PlatformManifest[]
  readonly config?: { readonly digest: string }
  readonly layers?: readonly { readonly digest: string }[]
  readonly rootfs?: { readonly diff_ids?: readonly string[] }
}

interface PlatformManifest {
  readonly digest: string
  readonly platform?: { readonly architecture?: string; readonly os?: string }
}

const isOurs = ({ platform }: PlatformManifest): boolean =>
  platform?.os === 'linux' && platform.architecture === (arch === 'x64' ? 'amd64' : arch)
