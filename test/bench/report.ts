import { cpus, totalmem } from 'node:os'

/** One line of a benchmark: a subject measured in a case. Times in the unit given, one number per counted run. */
export interface Measurement {
  readonly case: string
  readonly subject: string
  readonly unit: string
  readonly values: readonly number[]
  /** The subjects were measured in turns: each value is compared with the reference's of the same round. */
  readonly paired?: boolean
}

/** What `--json` writes; tools that compare runs read it. */
export interface Report {
  readonly name: string
  readonly machine: string
  readonly rows: readonly Row[]
}

export interface Row {
  readonly case: string
  readonly subject: string
  readonly median: number
  readonly min: number
  readonly max: number
  readonly n: number
  readonly unit: string
  /**
   * This row's median divided by the median of the case's reference, or the median of the ratios of each round where rows
   * are paired; 1 for the reference itself.
   */
  readonly ratio: number
}

/** The middle value, or the mean of the two middle ones. NaN for no values. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** `reference` names the subject that a case is compared with; it must occur in it. */
export function summarize(
  name: string,
  reference: string | ((where: string) => string),
  measurements: readonly Measurement[],
): Report {
  const rows = measurements.map((m): Row => {
    const subject = typeof reference === 'string' ? reference : reference(m.case)
    const base = measurements.find((o) => o.case === m.case && o.subject === subject)
    if (!base) throw new Error(`case "${m.case}" has no measurement of its reference "${subject}"`)
    return {
      case: `${m.case} (vs ${subject})`,
      subject: m.subject,
      median: median(m.values),
      min: Math.min(...m.values),
      max: Math.max(...m.values),
      n: m.values.length,
      unit: m.unit,
      ratio: ratioOf(m, base),
    }
  })
  return { name, machine: machine(), rows }
}

/** What disturbs a whole round disturbs both of a pair. */
function ratioOf(m: Measurement, base: Measurement): number {
  if (m.paired !== true || m.values.length !== base.values.length) return median(m.values) / median(base.values)
  return median(m.values.map((value, round) => value / base.values[round]!))
}

export function machine(): string {
  const model = cpus()[0]?.model.trim() ?? 'unknown processor'
  return `${cpus().length} × ${model}, ${Math.round(totalmem() / 2 ** 30)} GiB`
}

/** A table for a terminal, columns padded to their content. */
export function table(report: Report): string {
  const header = ['case', 'subject', 'median', 'min', 'max', 'n', 'ratio']
  const cells = report.rows.map((r) => [
    r.case,
    r.subject,
    `${round(r.median)} ${r.unit}`,
    round(r.min),
    round(r.max),
    String(r.n),
    r.ratio.toFixed(2),
  ])
  const widths = header.map((h, i) => Math.max(h.length, ...cells.map((c) => c[i]!.length)))
  const line = (c: readonly string[]): string =>
    c.map((text, i) => (i < 2 ? text.padEnd(widths[i]!) : text.padStart(widths[i]!))).join('  ')
  return [`${report.name} on ${report.machine}`, line(header), ...cells.map(line)].join('\n')
}

const round = (value: number): string =>
  value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(2) : value.toPrecision(3)
