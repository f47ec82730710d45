/** resource.Quantity: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/ */
const syntax = /^([+-]?)(\d*)(?:\.(\d*))?(?:([eE])([+-]?\d+)|(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]))?$/

const decimal: Readonly<Record<string, number>> = { n: -9, u: -6, m: -3, k: 3, M: 6, G: 9, T: 12, P: 15, E: 18 }
const binary: Readonly<Record<string, bigint>> = { Ki: 10n, Mi: 20n, Gi: 30n, Ti: 40n, Pi: 50n, Ei: 60n }

/**
 * The amount in thousandths (for processors) or whole units (for everything else), rounded up as Quantity's MilliValue
 * and Value do. Text that is no quantity counts as 0: the API server lets none in.
 * @param exponent 3 for thousandths, 0 for units
 */
export function parseQuantity(text: string, exponent: 0 | 3 = 0): number {
  const match = syntax.exec(text)
  if (!match) return 0
  const [, sign, whole = '', fraction = '', , power, suffix = ''] = match
  if (whole === '' && fraction === '') return 0
  let tens = exponent - fraction.length + (power === undefined ? (decimal[suffix] ?? 0) : Number(power))
  // An absurd exponent must not become an absurd number of digits.
  tens = Math.max(-400, Math.min(30, tens))
  let value = BigInt(whole + fraction) << (binary[suffix] ?? 0n)
  if (tens >= 0) value *= 10n ** BigInt(tens)
  else {
    const divisor = 10n ** BigInt(-tens)
    value = sign === '-' ? value / divisor : (value + divisor - 1n) / divisor
  }
  return Number(sign === '-' ? -value : value)
}
