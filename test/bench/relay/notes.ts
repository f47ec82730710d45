import type { Measurement } from '../report.ts'

/** Where the parts of the benchmark leave what they have measured. */
export interface Notes {
  readonly note: (where: string, subject: string, unit: string, value: number) => void
  readonly progress: (text: string) => void
}

/** What was measured, in the order in which cases and subjects were first seen. */
export function takeNotes(progress: (text: string) => void): Notes & { measurements(): readonly Measurement[] } {
  const cases = new Map<string, Map<string, { unit: string; values: number[] }>>()
  return {
    progress,
    note(where, subject, unit, value) {
      const subjects = cases.get(where) ?? new Map<string, { unit: string; values: number[] }>()
      cases.set(where, subjects)
      const row = subjects.get(subject) ?? { unit, values: [] }
      subjects.set(subject, row)
      row.values.push(value)
      progress(`${where}: ${subject} ${value.toFixed(3)} ${unit}`)
    },
    measurements: () =>
      [...cases].flatMap(([where, subjects]) =>
        [...subjects].map(([subject, row]) => ({ case: where, subject, paired: true, ...row })),
      ),
  }
}
