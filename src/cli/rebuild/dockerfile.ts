import { normalizeReference } from '../../buildkit/reference.ts'

/**
 * The images that a Dockerfile names in FROM, COPY --from and RUN --mount=from, as far as its text says it: normalised,
 * with the digest where it stands there. Stages, `scratch` and names with unknown variables are left out.
 * @param args build arguments; those before the first FROM take part in its name.
 */
export function imagesNamedIn(
  text: string,
  args: ReadonlyMap<string, string>,
): { readonly name: string; readonly digest: string | undefined }[] {
  const variables = new Map<string, string>()
  const stages = new Set<string>()
  const found = new Map<string, { name: string; digest: string | undefined }>()
  const add = (written: string): void => {
    const name = expand(written, variables)
    if (name === undefined || name === 'scratch' || stages.has(name.toLowerCase()) || /^\d+$/.test(name)) return
    const image = readName(name)
    if (image) found.set(`${image.name}@${image.digest}`, image)
  }
  let inStage = false
  for (const line of logicalLines(text)) {
    const [, instruction = '', rest = ''] = /^\s*([A-Za-z]+)\s+(.*)$/s.exec(line) ?? []
    const words = rest.trim().split(/\s+/)
    switch (instruction.toUpperCase()) {
      case 'ARG': {
        if (inStage) break
        for (const word of words) {
          const [name, value] = splitOnce(word, '=')
          const given = args.get(name) ?? (value === undefined ? undefined : expand(unquote(value), variables))
          if (given !== undefined) variables.set(name, given)
        }
        break
      }
      case 'FROM': {
        inStage = true
        const [name, as, stage] = words.filter((word) => !word.startsWith('--'))
        if (name !== undefined) add(unquote(name))
        if (as?.toUpperCase() === 'AS' && stage !== undefined) stages.add(stage.toLowerCase())
        break
      }
      case 'COPY':
      case 'RUN':
        for (const word of words) {
          const from = /^--from=(.+)$/.exec(word)?.[1] ?? /^--mount=(?:.*,)?from=([^,]+)/.exec(word)?.[1]
          if (from !== undefined) add(unquote(from))
          if (!word.startsWith('--')) break
        }
    }
  }
  return [...found.values()]
}

/** Without comments, and lines that end in a backslash joined with the next. */
function logicalLines(text: string): string[] {
  const kept = text.split(/\r?\n/).filter((line) => !/^\s*#/.test(line))
  return kept
    .join('\n')
    .replaceAll(/\\[ \t]*\n/g, ' ')
    .split('\n')
}

const splitOnce = (text: string, by: string): [string, string | undefined] => {
  const at = text.indexOf(by)
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)]
}

const unquote = (text: string): string => /^(["'])(.*)\1$/s.exec(text)?.[2] ?? text

/** `$A`, `${A}`, `${A:-default}`; undefined when a variable is not known. */
function expand(text: string, variables: ReadonlyMap<string, string>): string | undefined {
  let known = true
  const result = text.replaceAll(
    /\$(?:\{(\w+)(?::?-([^}]*))?\}|(\w+))/g,
    (_, braced: string | undefined, fallback: string | undefined, bare: string | undefined) => {
      const value = variables.get(braced ?? bare ?? '') ?? fallback
      if (value === undefined) known = false
      return value ?? ''
    },
  )
  return known && !result.includes('$') ? result : undefined
}

function readName(text: string): { name: string; digest: string | undefined } | undefined {
  const [named, digest] = splitOnce(text, '@')
  try {
    return { name: normalizeReference(named), digest }
  } catch {
    return undefined
  }
}
