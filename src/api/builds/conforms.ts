import type { JsonSchema } from './field.ts'

interface Keywords {
  readonly properties?: Readonly<Record<string, JsonSchema>>
  readonly additionalProperties?: JsonSchema
  readonly items?: JsonSchema
  readonly pattern?: string
  readonly enum?: readonly string[]
  readonly minLength?: number
  readonly maxLength?: number
}

/**
 * Where the strings of a value are not what its schema says, as a sentence; undefined when they are. The API server
 * checks objects as they are written: what the arguments of a template become is seen by nobody else.
 */
export function misfit(schema: JsonSchema, value: unknown, path: string): string | undefined {
  const {
    properties,
    additionalProperties,
    items,
    pattern,
    enum: values,
    minLength = 0,
    maxLength,
  } = schema as Keywords
  if (Array.isArray(value)) {
    if (items === undefined) return undefined
    return value.map((one: unknown, i) => misfit(items, one, `${path}[${i}]`)).find((said) => said !== undefined)
  }
  if (typeof value === 'object' && value !== null) {
    return Object.entries(value)
      .map(([key, one]) => {
        const field = properties?.[key] ?? additionalProperties
        return field === undefined ? undefined : misfit(field, one, `${path}.${key}`)
      })
      .find((said) => said !== undefined)
  }
  if (typeof value !== 'string') return undefined
  const fits =
    value.length >= minLength &&
    (maxLength === undefined || Array.from(value).length <= maxLength) &&
    (values === undefined || values.includes(value)) &&
    (pattern === undefined || new RegExp(pattern).test(value))
  if (fits) return undefined
  const shown = JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value)
  return `${path}: ${shown} is not what may stand there${pattern === undefined ? '' : ` (${pattern})`}`
}
