export interface ImageNumbers {
  readonly delivered: number
  readonly failed: number
  readonly bytes: number
  readonly running: number
  /** Lookups whose answer waits for a build. */
  readonly held: number
  /** Names being built or queued. */
  readonly building: number
  /** Agents whose inventory is not read yet. */
  readonly pending: number
  readonly names: number
  readonly copies: number
  readonly nodes: number
}

/** What is known of images and was delivered, as text for /metrics (Prometheus). */
export function imageMetrics(n: ImageNumbers): string {
  const metric = (
    name: string,
    type: 'gauge' | 'counter',
    help: string,
    rows: Readonly<Record<string, number>>,
  ): string =>
    [
      `# HELP ${name} ${help}`,
      `# TYPE ${name} ${type}`,
      ...Object.entries(rows).map(([labels, value]) => `${name}${labels} ${value}`),
      '',
    ].join('\n')
  return [
    metric('insitu_deliveries_total', 'counter', 'Images brought to nodes after builds.', {
      '{outcome="delivered"}': n.delivered,
      '{outcome="failed"}': n.failed,
    }),
    metric('insitu_delivered_bytes_total', 'counter', 'Bytes that deliveries moved between nodes.', { '': n.bytes }),
    metric('insitu_deliveries_running', 'gauge', 'Nodes that images are being brought to.', { '': n.running }),
    metric('insitu_lookups_held', 'gauge', 'Lookups of agents that wait for a build.', { '': n.held }),
    metric('insitu_names_building', 'gauge', 'Image names that are being built or queued.', { '': n.building }),
    metric('insitu_image_names', 'gauge', 'Built images known, by name.', { '': n.names }),
    metric('insitu_image_copies', 'gauge', 'Built images known, on all nodes together.', { '': n.copies }),
    metric('insitu_inventories', 'gauge', 'Nodes by whether their images are known.', {
      '{state="known"}': n.nodes,
      '{state="pending"}': n.pending,
    }),
  ].join('')
}
