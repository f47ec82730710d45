type Options = Readonly<Record<string, string>>

/** Both spellings that BuildKit knows: v0.33.1, frontend/attestations/parse.go. */
const provenance = /^(?:attest:|build-arg:BUILDKIT_ATTEST_)provenance$/i
/** Fields are those of CSV, so one may be in quotes. The last one counts. */
const mode = /^"?mode=/

/** Whether the provenance that a client wants would hold all options and the whole graph: that is what it is without a mode. */
export const wantsFullProvenance = (options: Options): boolean =>
  Object.entries(options).some(([key, value]) => provenance.test(key) && !isMinimal(value))

const isMinimal = (value: string): boolean => {
  const modes = value.split(',').filter((part) => mode.test(part))
  return modes.length > 0 && modes.every((part) => part === 'mode=min')
}

/**
 * The same options with provenance that leaves out build arguments and steps. BuildKit writes proxy variables into full
 * provenance, credentials and all (v0.33.1, solver/llbsolver/provenance: neither FilterArgs nor AddBuildConfig
 * takes them out).
 */
export function withMinimalProvenance(options: Record<string, string>): Record<string, string> {
  if (!wantsFullProvenance(options)) return options
  const minimal = (value: string): string =>
    [...value.split(',').filter((part) => part !== '' && !mode.test(part)), 'mode=min'].join(',')
  return Object.fromEntries(
    Object.entries(options).map(([key, value]) => [key, provenance.test(key) ? minimal(value) : value]),
  )
}

/** Media type of attestations: the provenance of a build's record, and those of images. */
export const attestationType = 'application/vnd.in-toto+json'

/**
 * A provenance document as people get it: without proxy variables. The daemon's record of a build always has full
 * provenance. Its size stays as it was said in the record, by white space at the end, which JSON allows.
 * @returns the document itself when there are none in it, or when it is no JSON.
 */
export function withoutProxiesInside(document: Buffer): Buffer {
  const text = document.toString('utf8')
  if (!/_proxy"|"proxy_?env"/i.test(text)) return document
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return document
  }
  const without = (indent?: number): Buffer => Buffer.from(JSON.stringify(strip(value), undefined, indent))
  const [wide, narrow] = [without(2), without()]
  const kept = wide.length <= document.length ? wide : narrow
  return kept.length >= document.length ? kept : Buffer.concat([kept, Buffer.alloc(document.length - kept.length, ' ')])
}

/** Options of frontends as the request repeats them, and `proxy_env` of steps. */
const aboutProxies = /^(?:build-arg:(?:https?|ftp|no|all)_proxy|proxy_?env)$/i

function strip(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(strip)
  if (typeof value !== 'object' || value === null) return value
  const kept = Object.entries(value).filter(([key]) => !aboutProxies.test(key))
  return Object.fromEntries(kept.map(([key, inner]) => [key, strip(inner)]))
}
