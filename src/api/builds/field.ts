/** JSON schema as CustomResourceDefinitions take it (OpenAPI v3, structural). */
export interface JsonSchema {
  readonly type: 'object' | 'array' | 'string' | 'integer' | 'boolean'
  readonly [keyword: string]: unknown
}

/** A rule that the API server checks itself: https://kubernetes.io/docs/reference/using-api/cel/ */
export interface Rule {
  readonly rule: string
  readonly message?: string
  readonly messageExpression?: string
  readonly fieldPath?: string
  readonly optionalOldSelf?: boolean
}

/** A field of an object: its schema, and as a type only, what it holds. Both come from one definition. */
export interface Field<T, Required extends boolean = boolean> {
  readonly schema: JsonSchema
  readonly required: Required
  /** Never there; carries the type. */
  readonly holds?: T
}

type Shape = Readonly<Record<string, Field<unknown>>>
type RequiredKeys<S extends Shape> = { [K in keyof S]: S[K] extends Field<unknown, true> ? K : never }[keyof S]
type Held<F> = F extends Field<infer T> ? T : never

/** The type of an object with these fields. */
export type Of<S extends Shape> = { readonly [K in RequiredKeys<S>]: Held<S[K]> } & {
  readonly [K in Exclude<keyof S, RequiredKeys<S>>]?: Held<S[K]> | undefined
}

/** The type that a definition stands for. */
export type Infer<F extends Field<unknown>> = Held<F>

interface Common {
  readonly rules?: readonly Rule[]
}

const rulesOf = (rules: readonly Rule[] | undefined): object =>
  rules === undefined || rules.length === 0 ? {} : { 'x-kubernetes-validations': rules }

const optional = <T>(schema: JsonSchema): Field<T, false> => ({ schema, required: false })

/** The same field, which must be there. */
export const required = <T>(field: Field<T>): Field<T, true> => ({ schema: field.schema, required: true })

export interface StringOptions extends Common {
  /** Characters; every string has a bound, or the cost of CEL rules has none. Default 1024. */
  readonly max?: number
  readonly min?: number
  readonly pattern?: string
  readonly format?: string
  readonly default?: string
}

export function string(description: string, options: StringOptions = {}): Field<string, false> {
  const { max = 1024, min, pattern, format, rules } = options
  return optional({
    type: 'string',
    description,
    ...(format === undefined ? { maxLength: max } : { format }),
    ...(min === undefined ? {} : { minLength: min }),
    ...(pattern === undefined ? {} : { pattern }),
    ...(options.default === undefined ? {} : { default: options.default }),
    ...rulesOf(rules),
  })
}

export const oneOf = <const V extends readonly string[]>(
  description: string,
  values: V,
  byDefault?: V[number],
  rules?: readonly Rule[],
): Field<V[number], false> =>
  optional({
    type: 'string',
    description,
    enum: values,
    ...(byDefault === undefined ? {} : { default: byDefault }),
    ...rulesOf(rules),
  })

export const boolean = (
  description: string,
  options: Common & { readonly default?: boolean } = {},
): Field<boolean, false> =>
  optional({
    type: 'boolean',
    description,
    ...(options.default === undefined ? {} : { default: options.default }),
    ...rulesOf(options.rules),
  })

export const integer = (
  description: string,
  bounds: { readonly minimum: number; readonly maximum: number; readonly default?: number },
): Field<number, false> => optional({ type: 'integer', description, ...bounds })

export function object<const S extends Shape>(
  description: string,
  shape: S,
  options: Common = {},
): Field<Of<S>, false> {
  const names = Object.keys(shape).filter((name) => shape[name]?.required)
  return optional({
    type: 'object',
    description,
    ...(names.length === 0 ? {} : { required: names }),
    properties: Object.fromEntries(Object.entries(shape).map(([name, field]) => [name, field.schema])),
    ...rulesOf(options.rules),
  })
}

/** A list without an order of its own, whose entries are told apart by a key: two with the same key are refused. */
export const listBy = <T>(description: string, key: string, item: Field<T>, max = 64): Field<readonly T[], false> =>
  optional({
    type: 'array',
    description,
    maxItems: max,
    items: item.schema,
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-list-map-keys': [key],
  })

export const list = <T>(description: string, item: Field<T>, max = 64): Field<readonly T[], false> =>
  optional({ type: 'array', description, maxItems: max, items: item.schema })

/** Texts by keys that are not known before. What a key may be is for rules. */
export const map = <T>(
  description: string,
  value: Field<T>,
  options: Common & { readonly max?: number } = {},
): Field<Readonly<Record<string, T>>, false> =>
  optional({
    type: 'object',
    description,
    maxProperties: options.max ?? 64,
    additionalProperties: value.schema,
    ...rulesOf(options.rules),
  })

/** An object of Kubernetes' own that is not described again here; the API server keeps all of it. */
export const foreign = <T>(description: string): Field<T, false> =>
  optional({ type: 'object', description, 'x-kubernetes-preserve-unknown-fields': true })
