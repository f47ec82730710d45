import { InsituError } from '../../kernel/errors.ts'

const units = { h: 3600, m: 60, s: 1 } as const

/** Seconds of a duration such as `1h30m`, `90s`. @throws InsituError INVALID_SPEC */
export function seconds(text: string, field: string): number {
  const parts = [...text.matchAll(/(\d+)([hms])/g)]
  if (parts.length === 0 || parts.map(([whole]) => whole).join('') !== text) {
    throw new InsituError('INVALID_SPEC', `spec.${field}: "${text}" is no duration such as 30m or 1h30m`, {
      status: 'INVALID_ARGUMENT',
    })
  }
  return parts.reduce((sum, [, value, unit]) => sum + Number(value) * units[unit as keyof typeof units], 0)
}
