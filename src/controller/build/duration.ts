import { InsituError } from '../../kernel/errors.ts'

const units = { h: 3600, m: 60, s: 1 } as const

/** Seconds of a duration such as `1h30m`, `90s`. @throws InsituError INVALID_SPEC */
export function seconds(text: string, field: string): number {
  // Whole and first: looking for parts in a text that is none takes time that grows with its square.
  if (!/^(\d+[hms])+$/.test(text)) {
    throw new InsituError('INVALID_SPEC', `spec.${field}: "${text}" is no duration such as 30m or 1h30m`, {
      status: 'INVALID_ARGUMENT',
    })
  }
  const parts = [...text.matchAll(/(\d+)([hms])/g)]
  return parts.reduce((sum, [, value, unit]) => sum + Number(value) * units[unit as keyof typeof units], 0)
}
