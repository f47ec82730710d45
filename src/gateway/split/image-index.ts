import { createHash } from 'node:crypto'
import { InsituError } from '../../kernel/errors.ts'

/** A descriptor of the OCI image spec: descriptor.md. */
export interface Descriptor {
  readonly mediaType: string
  readonly digest: string
  readonly size: number
  readonly platform?: Readonly<Record<string, unknown>>
  readonly annotations?: Readonly<Record<string, string>>
  readonly [key: string]: unknown
}

/** What one part made. */
export interface PartImage {
  readonly node: string
  readonly platforms: readonly string[]
  readonly descriptor: Descriptor
  /** The manifests in it, when it is an index: images and their attestations. */
  readonly manifests: readonly Descriptor[] | undefined
}

export interface ImageIndex {
  readonly mediaType: string
  readonly digest: string
  readonly bytes: Buffer
}

const oci = 'application/vnd.oci.image.index.v1+json'
const docker = 'application/vnd.docker.distribution.manifest.list.v2+json'

export const isIndex = (mediaType: string): boolean => mediaType === oci || mediaType === docker

/**
 * Puts the images of all parts into one index, as BuildKit does for images of several platforms: image manifests in the
 * order in which the platforms were asked for, then attestations.
 * @throws InsituError PLATFORM_TWICE when two parts made different images for one platform.
 */
export function assembleIndex(parts: readonly PartImage[], platforms: readonly string[]): ImageIndex {
  const all = parts.flatMap((part) => manifestsOf(part).map((manifest) => ({ manifest, node: part.node })))
  const images = all.filter(({ manifest }) => !isAttestation(manifest))
  const seen = new Map<string, { readonly digest: string; readonly node: string }>()
  for (const { manifest, node } of images) {
    const name = platformName(manifest)
    const other = seen.get(name)
    if (other && other.digest !== manifest.digest) {
      throw new InsituError(
        'PLATFORM_TWICE',
        `nodes ${other.node} and ${node} made different images for ${name}: ${other.digest} and ${manifest.digest}`,
        { status: 'FAILED_PRECONDITION', fix: 'ask for each platform once, or build on one node with insitu.node' },
      )
    }
    seen.set(name, { digest: manifest.digest, node })
  }
  const rank = (manifest: Descriptor): number => {
    const found = platforms.indexOf(platformName(manifest))
    return found < 0 ? platforms.length : found
  }
  const unique = (list: readonly { readonly manifest: Descriptor }[]): Descriptor[] => [
    ...new Map(list.map(({ manifest }) => [manifest.digest, manifest])).values(),
  ]
  const manifests = [
    ...unique(images).toSorted((a, b) => rank(a) - rank(b)),
    ...unique(all.filter(({ manifest }) => isAttestation(manifest))),
  ]
  const isDocker = manifests.every(({ mediaType }) => mediaType.startsWith('application/vnd.docker.'))
  const mediaType = isDocker ? docker : oci
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, manifests }, undefined, 2))
  return { mediaType, digest: `sha256:${createHash('sha256').update(bytes).digest('hex')}`, bytes }
}

function manifestsOf({ descriptor, manifests, platforms }: PartImage): readonly Descriptor[] {
  if (manifests) return manifests
  const { mediaType, digest, size } = descriptor
  return [{ mediaType, digest, size, platform: platformObject(platforms[0] ?? '') }]
}

const isAttestation = ({ annotations, platform }: Descriptor): boolean =>
  annotations?.['vnd.docker.reference.type'] !== undefined || platform?.['architecture'] === 'unknown'

/** `linux/arm64/v8` and `linux/amd64/v1` are what everybody means without the variant. */
function platformObject(text: string): Readonly<Record<string, string>> {
  const [os = '', architecture = '', variant] = text.split('/')
  const plain = variant === undefined || `${architecture}/${variant}` === 'arm64/v8' || variant === 'v1'
  const own = architecture === 'arm' && variant === undefined ? 'v7' : variant
  return { architecture, os, ...(plain && architecture !== 'arm' ? {} : { variant: own ?? 'v7' }) }
}

function platformName({ platform = {} }: Descriptor): string {
  const { os, architecture, variant } = platform
  return [os, architecture, variant].filter((part) => typeof part === 'string' && part !== '').join('/')
}
