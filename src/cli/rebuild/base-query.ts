import { normalizeReference, repositoryOf } from '../../buildkit/reference.ts'
import { UsageError } from '../../kernel/errors.ts'

/** What `--base` names. */
export interface BaseQuery {
  /** Normalised, without digest; undefined where only repository and digest were said. */
  readonly name: string | undefined
  readonly repository: string
  /** Only images that were built on this digest. */
  readonly digest: string | undefined
}

export const digestSyntax = /^sha256:[0-9a-f]{64}$/

/**
 * Reads `NAME[:TAG][@DIGEST]`. Without a tag and with a digest every tag of the repository is meant.
 * @throws UsageError
 */
export function parseBase(text: string): BaseQuery {
  const [named = '', digest] = text.split('@', 2)
  if (digest !== undefined && !digestSyntax.test(digest)) {
    throw new UsageError(`--base ${text}: the digest is not sha256: and 64 hexadecimal digits`)
  }
  try {
    const repository = repositoryOf(named)
    const tagged = named.slice(named.lastIndexOf('/') + 1).includes(':')
    return { name: digest === undefined || tagged ? normalizeReference(named) : undefined, repository, digest }
  } catch (cause) {
    throw new UsageError(`--base ${text}`, { cause, fix: 'debian:12, registry.example.com/base@sha256:…' })
  }
}

/** Whether a base that was used is the one that is meant. A digest that is not known may be any. */
export const matchesBase = (
  { name, repository, digest }: BaseQuery,
  used: { readonly name: string; readonly digest: string | undefined },
): boolean =>
  (name === undefined ? repositoryOf(used.name) === repository : used.name === name) &&
  (digest === undefined || used.digest === undefined || used.digest === digest)
