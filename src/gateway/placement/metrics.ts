import type { Freshness } from './view.ts'

/** A metric of the Prometheus text format: https://prometheus.io/docs/instrumenting/exposition_formats/ */
function metric(
  name: string,
  type: 'gauge' | 'counter',
  help: string,
  rows: readonly (readonly [string, number])[],
): string {
  const lines = rows.map(
    ([resource, value]) => `${name}{resource="${resource}"} ${Number.isFinite(value) ? value : '+Inf'}`,
  )
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines, ''].join('\n')
}

/** How fresh the gateway's picture of the cluster is, as text for /metrics. */
export function freshnessMetrics(all: readonly Freshness[]): string {
  const rows = (value: (f: Freshness) => number) => all.map((f) => [f.resource, value(f)] as const)
  return [
    metric(
      'insitu_view_age_seconds',
      'gauge',
      'Time since the API server last said anything about the resource; it does so about once a minute.',
      rows((f) => f.age / 1000),
    ),
    metric(
      'insitu_watch_reconnects_total',
      'counter',
      'Watches that had to be opened again.',
      rows((f) => f.reconnects),
    ),
    metric(
      'insitu_watch_relists_total',
      'counter',
      'Lists that had to be repeated.',
      rows((f) => f.relists),
    ),
  ].join('')
}
