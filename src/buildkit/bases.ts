import { normalizeReference } from './reference.ts'
import { scannersIn } from './sbom.ts'

/** An image that a build was made from: in FROM, COPY --from and RUN --mount=from. */
export interface UsedImage {
  /** Normalised, without its digest: `docker.io/library/debian:12`. */
  readonly name: string
  /** What the name stood for: `sha256:…`. */
  readonly digest: string
  /** The digest was asked for, by the Dockerfile or by a source policy. */
  readonly pinned: boolean
}

interface Material {
  readonly uri?: unknown
  readonly digest?: { readonly sha256?: unknown }
}

interface Provenance {
  /** SLSA v1. */
  readonly buildDefinition?: {
    readonly resolvedDependencies?: readonly Material[]
    readonly externalParameters?: { readonly request?: { readonly args?: Readonly<Record<string, unknown>> } }
  }
  /** SLSA v0.2. */
  readonly materials?: readonly Material[]
  readonly invocation?: { readonly parameters?: { readonly args?: Readonly<Record<string, unknown>> } }
}

/**
 * The images in a provenance document, as BuildKit v0.33.1 writes it (solver/llbsolver/provenance/predicate.go: package
 * URLs of type docker): those of every platform, without the images of the frontend itself and of the scanner of an SBOM.
 * @param options of the frontend, as the record of the build has them: the document says nothing of attestations.
 * @returns nothing for other JSON.
 */
export function imagesInProvenance(document: unknown, options: Readonly<Record<string, string>> = {}): UsedImage[] {
  if (typeof document !== 'object' || document === null) return []
  const { buildDefinition, materials, invocation } = document as Provenance
  const args = buildDefinition?.externalParameters?.request?.args ?? invocation?.parameters?.args
  const source = args?.['source']
  const tools = new Set([...(typeof source === 'string' ? [source] : []), ...scannersIn(options)].map(nameOf))
  const listed = buildDefinition?.resolvedDependencies ?? materials ?? []
  const found = (Array.isArray(listed) ? (listed as readonly Material[]) : []).flatMap(readMaterial)
  const known = new Map<string, UsedImage>()
  for (const image of found) if (!tools.has(image.name)) known.set(`${image.name}@${image.digest}`, image)
  return [...known.values()]
}

function readMaterial({ uri, digest }: Material): UsedImage[] {
  if (typeof uri !== 'string' || typeof digest?.sha256 !== 'string') return []
  // https://github.com/package-url/purl-spec: pkg:docker/HOST/PATH@TAG?digest=…&platform=…
  const [, path = '', version, query = ''] = /^pkg:docker\/([^@?#]+)(?:@([^?#]+))?(?:\?([^#]*))?$/.exec(uri) ?? []
  const qualifiers = new URLSearchParams(query)
  if (path === '' || qualifiers.has('ref_type')) return []
  const tag = version === undefined || version.includes(':') ? '' : `:${decodeURIComponent(version)}`
  const name = nameOf(decodeURIComponent(path) + tag)
  const pinned = qualifiers.has('digest') || version?.includes(':') === true
  return name === undefined ? [] : [{ name, digest: `sha256:${digest.sha256}`, pinned }]
}

/** Undefined for what is no name. */
function nameOf(text: string): string | undefined {
  try {
    return normalizeReference(text.split('@sha256:', 1)[0] ?? '')
  } catch {
    return undefined
  }
}
