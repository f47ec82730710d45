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
 * long as its snapshot is there, and the other way round: containerd unpacks it again.
 * @param root digest of a manifest or an index, of which only this node's platform counts.
 * @returns the first digest that is missing, or undefined.
 */
export async function missingOf(root: string, options: MissingOptions): Promise<string | undefined> {
  const read = async (digest: string): Promise<Json | undefined> =>
    (await options.hasBlob(digest))
      ? options.store.read(digest).then(
          (bytes) => JSON.parse(bytes.toString()) as Json,
          () => undefined,
        )
      : undefined
  const top = await read(root)
  if (!top) return root
  for (const manifest of top.manifests ? top.manifests.filter(isOurs) : [{ digest: root }]) {
    const found = manifest.digest === root ? top : await read(manifest.digest)
    if (!found?.config) return manifest.digest
    const config = await read(found.config.digest)
    if (!config) return found.config.digest
    const missing = await missingLayer(found.layers ?? [], chainOf(config.rootfs?.diff_ids ?? []), options)
    if (missing !== undefined) return missing
  }
  return undefined
}

async function missingLayer(
  layers: readonly { readonly digest: string }[],
  chain: readonly string[],
  { hasBlob, hasSnapshot }: MissingOptions,
): Promise<string | undefined> {
  // A snapshot keeps its parents.
  const top = chain.at(-1)
  if (top === undefined || (await hasSnapshot(top))) return undefined
  for (const [i, { digest }] of layers.entries()) {
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
