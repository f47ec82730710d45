/** What a request of OCI distribution asks for: https://github.com/opencontainers/distribution-spec, "Endpoints". */
export type Target =
  | { readonly kind: 'api' }
  | { readonly kind: 'tag'; readonly repository: string; readonly tag: string; readonly hop: number }
  | { readonly kind: 'manifest' | 'blob'; readonly repository: string; readonly digest: string }
  | { readonly kind: 'referrers' }
  | { readonly kind: 'unknown' }

/** Counts the redirects of a held pull. */
export const hopParameter = 'insitu-hop'

const digestSyntax = /^sha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})$/
const tagSyntax = /^\w[\w.-]{0,127}$/
const path = /^\/v2\/(.+)\/(manifests|blobs|referrers)\/([^/]+)$/

/**
 * Reads path and query. containerd adds `ns=`, the registry that the image's name has; a repository is the normalised
 * name without its tag, `docker.io/library/app`.
 */
export function parseTarget(url: URL): Target {
  if (url.pathname === '/v2/' || url.pathname === '/v2') return { kind: 'api' }
  const [, name = '', what, last = ''] = path.exec(url.pathname) ?? []
  const registry = url.searchParams.get('ns') ?? ''
  if (!/^[\w.:[\]-]+$/.test(registry) || !/^[a-z0-9][a-z0-9._/-]*$/.test(name)) return { kind: 'unknown' }
  const repository = `${registry}/${name}`
  const reference = decodeURIComponent(last)
  if (what === 'referrers') return { kind: 'referrers' }
  if (digestSyntax.test(reference)) {
    return { kind: what === 'blobs' ? 'blob' : 'manifest', repository, digest: reference }
  }
  if (what !== 'manifests' || !tagSyntax.test(reference)) return { kind: 'unknown' }
  const hop = Number(url.searchParams.get(hopParameter) ?? '0')
  return { kind: 'tag', repository, tag: reference, hop: Number.isInteger(hop) && hop > 0 ? hop : 0 }
}

/** The same request with another number of the redirect, as a relative reference. */
export function nextHop(url: URL, hop: number): string {
  const next = new URL(url)
  next.searchParams.set(hopParameter, String(hop + 1))
  return `${next.pathname}${next.search}`
}
