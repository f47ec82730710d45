export type Labels = Readonly<Record<string, string>>

/** One condition on a label. Of label selectors and, with Gt and Lt besides, of node selectors. */
export interface Requirement {
  readonly key: string
  readonly operator: string
  readonly values?: readonly string[]
}

/** meta/v1 LabelSelector in one list. Empty: matches everything; undefined in its place matches nothing. */
export type Selector = readonly Requirement[]

export interface RawSelector {
  readonly matchLabels?: Labels
  readonly matchExpressions?: readonly Requirement[]
}

export function readSelector(selector: RawSelector | undefined): Selector | undefined {
  if (selector === undefined) return undefined
  const equal = Object.entries(selector.matchLabels ?? {}).map(([key, value]): Requirement => ({
    key,
    operator: 'In',
    values: [value],
  }))
  return [...equal, ...(selector.matchExpressions ?? [])]
}

export function matchesSelector(labels: Labels, selector: Selector | undefined): boolean {
  if (selector === undefined) return false
  for (const requirement of selector) if (!matchesRequirement(labels[requirement.key], requirement)) return false
  return true
}

/**
 * apimachinery's labels.Requirement.
 * @param value of the label that the requirement names, undefined if there is none.
 */
export function matchesRequirement(value: string | undefined, { operator, values }: Requirement): boolean {
  switch (operator) {
    case 'In':
      return value !== undefined && values !== undefined && values.includes(value)
    case 'NotIn':
      return value === undefined || !values?.includes(value)
    case 'Exists':
      return value !== undefined
    case 'DoesNotExist':
      return value === undefined
    case 'Gt':
    case 'Lt': {
      const [own, bound] = [integer(value), integer(values?.[0])]
      if (own === undefined || bound === undefined) return false
      return operator === 'Gt' ? own > bound : own < bound
    }
    default:
      return false
  }
}

/** As Go's ParseInt with 64 bits. */
function integer(text: string | undefined): bigint | undefined {
  if (text === undefined || !/^[+-]?\d{1,19}$/.test(text)) return undefined
  const value = BigInt(text)
  return value === BigInt.asIntN(64, value) ? value : undefined
}
