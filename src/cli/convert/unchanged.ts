interface AnyObject {
  readonly apiVersion?: string
  readonly kind?: string
  readonly metadata?: { readonly name?: string }
  readonly [field: string]: unknown
}

/** What somebody may have expected to be converted: one line for it, none for everything else. */
export function unchangedRemarks(object: AnyObject): string[] {
  const why = reason(object)
  if (why === undefined) return []
  const label = `${object.kind ?? 'object'} ${object.metadata?.name ?? ''}`.trim()
  return [`${label}: unchanged, though it ${why}; only objects of build.knative.dev are converted`]
}

function reason(object: AnyObject): string | undefined {
  if (object.apiVersion?.startsWith('shipwright.io/')) return 'is of shipwright.io'
  const builders = [...new Set(imagesIn(object))].filter(isBuilder)
  return builders.length === 0 ? undefined : `seems to build images (${builders.join(', ')})`
}

/** The images of containers, wherever a kind has them. */
function imagesIn(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(imagesIn)
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, one]) =>
    key === 'image' && typeof one === 'string' ? [one] : imagesIn(one),
  )
}

/** Whether a repository is called kaniko, buildkit, buildah or docker; the name of its registry says nothing. */
function isBuilder(image: string): boolean {
  const parts = image
    .replace(/@.*$/, '')
    .replace(/:[^/]*$/, '')
    .split('/')
  const path = parts.length > 1 && /[.:]/.test(parts[0] ?? '') ? parts.slice(1) : parts
  return path.at(-1) === 'docker' || path.some((part) => /(^|[-_.])(kaniko|buildkit|buildah)/.test(part))
}
