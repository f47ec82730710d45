import { hasTag, normalizeReference, parseReference } from '../../buildkit/reference.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { Caller } from '../listener/caller.ts'

/**
 * Reads an entry of `names` in the form that names are compared in, as containerd would write them. Placeholders stay.
 * @throws InsituError IMAGE_NAME
 */
export function checkNamePattern(entry: string): string {
  if (entry === '*') return entry
  const sample = entry.replaceAll('{namespace}', 'namespace').replaceAll('{serviceAccount}', 'account')
  if (/[*{}]/.test(sample)) {
    throw new InsituError('IMAGE_NAME', `"${entry}" is no pattern for names: only "*" alone, or a name, or a prefix`, {
      status: 'INVALID_ARGUMENT',
      fix: 'end a prefix with a slash: "registry.example.com/team/"; placeholders are {namespace} and {serviceAccount}',
    })
  }
  normalizeReference(sample.endsWith('/') ? `${sample}x` : sample)
  return entry
}

/** Whether a normalised name is covered by an entry. A repository is never a prefix of a longer one. */
export function coversName(entry: string, name: string, caller: Caller): boolean {
  if (entry === '*') return true
  const own = fill(entry, caller)
  if (own === undefined) return false
  try {
    if (own.endsWith('/')) {
      const { domain, path } = parseReference(`${own}x`)
      return name.startsWith(`${domain}/${path.slice(0, -1)}`)
    }
    const wanted = parseReference(own)
    const { domain, path } = parseReference(name)
    if (hasTag(own)) return normalizeReference(own) === name
    return wanted.domain === domain && wanted.path === path
  } catch {
    return false
  }
}

/** The entry with the caller's own namespace and account in it; undefined when it has none. */
function fill(entry: string, caller: Caller): string | undefined {
  const known = caller.kind === 'pod' || caller.kind === 'service-account'
  const values: readonly (readonly [string, string | undefined])[] = [
    ['{namespace}', known ? caller.namespace : undefined],
    ['{serviceAccount}', known ? caller.serviceAccount : undefined],
  ]
  let result = entry
  for (const [placeholder, value] of values) {
    if (!result.includes(placeholder)) continue
    if (value === undefined) return undefined
    result = result.replaceAll(placeholder, value)
  }
  return result
}
