/** A descriptor as manifests hold them: https://github.com/opencontainers/image-spec/blob/main/descriptor.md */
export interface Descriptor {
  readonly mediaType: string
  readonly digest: string
  readonly size: number
}

export interface Manifest {
  readonly mediaType: string
  /** Manifests of an index; config and layers of a manifest. */
  readonly children: readonly Descriptor[]
}

const oci = 'application/vnd.oci.image'

/** Reads a manifest or an index, of OCI or docker. @throws SyntaxError, TypeError when it is neither. */
export function parseManifest(bytes: Uint8Array): Manifest {
  const raw = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>
  const list = raw['manifests']
  const children = (Array.isArray(list) ? list : [raw['config'], ...array(raw['layers'])]).filter(isDescriptor)
  if (children.length === 0) throw new TypeError('neither an image manifest nor an index')
  const said = raw['mediaType']
  // OCI allows to leave it away, docker does not.
  const implied = Array.isArray(list) ? `${oci}.index.v1+json` : `${oci}.manifest.v1+json`
  return { mediaType: typeof said === 'string' ? said : implied, children }
}

export const isManifestType = (mediaType: string): boolean =>
  /\.(manifest|index|manifest\.list)\.v\d\+json$/.test(mediaType)

/** A layer that is stored as plain tar: worth compressing on a slow way. */
export const isPlainLayer = (mediaType: string): boolean =>
  /\.layer(\.nondistributable)?\.v1\.tar$|\.rootfs(\.foreign)?\.diff\.tar$/.test(mediaType)

const array = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])

function isDescriptor(value: unknown): value is Descriptor {
  const { mediaType, digest, size } = (value ?? {}) as Record<string, unknown>
  return typeof mediaType === 'string' && typeof digest === 'string' && typeof size === 'number'
}
