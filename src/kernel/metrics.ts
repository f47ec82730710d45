/** Metrics in the Prometheus text format: https://prometheus.io/docs/instrumenting/exposition_formats/ */
export interface Metrics {
  /** Adds to a counter; label values must come from small sets, never from clients. */
  count(name: string, help: string, labels?: Labels, by?: number): void
  /** Adds a value (in seconds, bytes, …) to a histogram. */
  observe(name: string, help: string, labels: Labels, value: number): void
  /** A value that is asked for at each scrape. */
  gauge(name: string, help: string, read: () => number): void
  /** The same for a value that only grows. */
  counter(name: string, help: string, labels: Labels, read: () => number): void
  render(): string
}

export type Labels = Readonly<Record<string, string>>

interface Family {
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly help: string
  readonly rows: Map<string, number | (() => number)>
  readonly histograms: Map<string, Histogram>
}

interface Histogram {
  readonly labels: Labels
  readonly counts: number[]
  sum: number
  count: number
}

/** Upper bounds in seconds: from a build that is all cache to one that takes hours. */
const buckets = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200]

export function createMetrics(): Metrics {
  const families = new Map<string, Family>()
  const family = (name: string, type: Family['type'], help: string): Family => {
    let found = families.get(name)
    if (!found) families.set(name, (found = { type, help, rows: new Map(), histograms: new Map() }))
    return found
  }
  return {
    count(name, help, labels = {}, by = 1) {
      const { rows } = family(name, 'counter', help)
      const key = text(labels)
      rows.set(key, Number(rows.get(key) ?? 0) + by)
    },
    observe(name, help, labels, value) {
      const { histograms } = family(name, 'histogram', help)
      const key = text(labels)
      let found = histograms.get(key)
      if (!found) histograms.set(key, (found = { labels, counts: buckets.map(() => 0), sum: 0, count: 0 }))
      found.sum += value
      found.count += 1
      for (const [i, bound] of buckets.entries()) if (value <= bound) found.counts[i] = (found.counts[i] ?? 0) + 1
    },
    gauge: (name, help, read) => void family(name, 'gauge', help).rows.set('', read),
    counter: (name, help, labels, read) => void family(name, 'counter', help).rows.set(text(labels), read),
    render: () => [...families].map(([name, one]) => renderFamily(name, one)).join(''),
  }
}

function renderFamily(name: string, { type, help, rows, histograms }: Family): string {
  const lines = [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`]
  for (const [labels, value] of rows) lines.push(`${name}${labels} ${typeof value === 'function' ? value() : value}`)
  for (const { labels, counts, sum, count } of histograms.values()) {
    for (const [i, bound] of buckets.entries()) {
      lines.push(`${name}_bucket${text({ ...labels, le: String(bound) })} ${counts[i]}`)
    }
    lines.push(`${name}_bucket${text({ ...labels, le: '+Inf' })} ${count}`)
    lines.push(`${name}_sum${text(labels)} ${sum}`, `${name}_count${text(labels)} ${count}`)
  }
  return `${lines.join('\n')}\n`
}

function text(labels: Labels): string {
  const pairs = Object.entries(labels).map(([key, value]) => `${key}="${value.replaceAll(/["\\\n]/g, ' ')}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}
