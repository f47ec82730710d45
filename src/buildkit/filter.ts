import { InsituError } from '../kernel/errors.ts'

/** The value of a field of what is filtered; undefined when it is absent. `labels."a.b"` arrives as `labels`, `a.b`. */
export type Field = (path: readonly string[]) => string | undefined

type Selector = (field: Field) => boolean

/**
 * containerd's filters, as BuildKit takes them: https://pkg.go.dev/github.com/containerd/containerd/v2/pkg/filters.
 * One text is a comma list of `field`, `field==value`, `field!=value`, `field~=expression` that must all hold; of several
 * texts one has to. No text matches everything.
 * @throws InsituError FILTER (INVALID_ARGUMENT)
 */
export function parseFilters(texts: readonly string[]): (field: Field) => boolean {
  if (texts.length === 0) return () => true
  const filters = texts.map(parseFilter)
  return (field) => filters.some((selectors) => selectors.every((selector) => selector(field)))
}

const quoted = /"(?:[^"\\]|\\.)*"|`[^`]*`/y
const word = /[A-Za-z][A-Za-z0-9_]*/y
const operator = /==|!=|~=/y
const bare = /[^\s,]+/y

function parseFilter(text: string): Selector[] {
  const selectors: Selector[] = []
  let at = 0
  const take = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at
    const found = pattern.exec(text)?.[0]
    at += found?.length ?? 0
    return found
  }
  const wrong = (what: string): InsituError => refused(text, `${what} at character ${at + 1}`)
  const takeQuoted = (): string | undefined => {
    const literal = take(quoted)
    if (literal === undefined) return undefined
    if (literal.startsWith('`')) return literal.slice(1, -1)
    try {
      return JSON.parse(literal) as string
    } catch {
      throw wrong('a quoted text that cannot be read')
    }
  }
  while (at < text.length) {
    const path: string[] = []
    do {
      const part = takeQuoted() ?? take(word)
      if (part === undefined) throw wrong('a field is missing')
      path.push(part)
    } while (text[at] === '.' && at++ >= 0)
    const sign = take(operator)
    const value = sign === undefined ? undefined : (takeQuoted() ?? take(bare))
    if (sign !== undefined && value === undefined) throw wrong('a value is missing')
    selectors.push(selectorOf(text, path, sign, value ?? ''))
    if (at < text.length && (text[at] !== ',' || ++at === text.length)) throw wrong('a comma and a field should be')
  }
  return selectors
}

function selectorOf(text: string, path: readonly string[], sign: string | undefined, value: string): Selector {
  switch (sign) {
    case '==':
      return (field) => field(path) === value
    case '!=':
      return (field) => field(path) !== value
    case '~=': {
      const expression = simpleExpression(text, value)
      return (field) => {
        const found = field(path)
        return found !== undefined && expression.test(found)
      }
    }
    case undefined:
    default:
      return (field) => field(path) !== undefined
  }
}

/**
 * Go's expressions take time in proportion to their length, JavaScript's may take for ever, and everybody's builds would
 * wait meanwhile: only expressions that cannot backtrack far are taken.
 */
function simpleExpression(text: string, source: string): RegExp {
  const repeats = source.match(/[*+?{]/g)?.length ?? 0
  if (source.length > 256 || repeats > 2 || /[()|\\]/.test(source.replaceAll(/\\[.*+?^$[\]\-/]/g, ''))) {
    throw refused(text, 'the expression is too complicated')
  }
  try {
    return new RegExp(source)
  } catch {
    throw refused(text, 'the expression cannot be read')
  }
}

const refused = (text: string, why: string): InsituError =>
  new InsituError('FILTER', `the filter ${JSON.stringify(text)} is not understood: ${why}`, {
    status: 'INVALID_ARGUMENT',
    fix: 'write it as id==node1 or labels."insitu.build/node"==node1',
  })
