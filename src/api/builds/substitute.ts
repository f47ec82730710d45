import type { TemplateParameter } from './builds.ts'

export interface Argument {
  readonly name: string
  readonly value: string
}

/** Arguments that fit no parameter, and parameters that got no value, by name. */
export interface Misfits {
  readonly unknown: readonly string[]
  readonly missing: readonly string[]
}

/** Compares the arguments of a Build with the parameters of its template. */
export function misfits(parameters: readonly TemplateParameter[], args: readonly Argument[]): Misfits {
  const known = new Set(parameters.map(({ name }) => name))
  const given = new Set(args.map(({ name }) => name))
  return {
    unknown: [...given].filter((name) => !known.has(name)),
    missing: parameters.filter((p) => p.default === undefined && !given.has(p.name)).map(({ name }) => name),
  }
}

/** The values of a template's parameters for one Build. */
export const valuesOf = (
  parameters: readonly TemplateParameter[],
  args: readonly Argument[],
): ReadonlyMap<string, string> =>
  new Map([
    ...parameters.flatMap(({ name, default: value }) => (value === undefined ? [] : [[name, value] as const])),
    ...args.map(({ name, value }) => [name, value] as const),
  ])

/**
 * Replaces `${NAME}` in every string of a value, however deep, in one pass: what an argument holds is not looked at
 * again. `$${NAME}` becomes the text `${NAME}`; names that are no parameter are left as they are, because Dockerfiles
 * and shells write their own variables the same way. Keys of objects stay.
 */
export function substitute<T>(value: T, values: ReadonlyMap<string, string>): T {
  if (typeof value === 'string') return replaceIn(value, values) as T
  if (Array.isArray(value)) return value.map((one: unknown) => substitute(one, values)) as T
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, substitute(one as unknown, values)])) as T
  }
  return value
}

const replaceIn = (text: string, values: ReadonlyMap<string, string>): string =>
  text.replace(/(\$?)\$\{([A-Za-z_][A-Za-z0-9_.-]*)\}/g, (whole, escape: string, name: string) => {
    const found = values.get(name)
    if (found === undefined) return whole
    return escape === '' ? found : `\${${name}}`
  })
