import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { type Report, table } from './report.ts'

export interface BenchOptions {
  /** Counted runs of each subject in each case. */
  readonly runs: number
  /** MiB of a transfer, where a benchmark has one. */
  readonly size: number
  /** Of the cluster of a benchmark that makes one. */
  readonly nodes: number
  readonly pods: number
  /** Objects are written into etcd instead of through the API. */
  readonly direct: boolean
  /** Parts of a benchmark to run; none: all. */
  readonly only: readonly string[]
  /** One line of progress on standard error. */
  readonly progress: (text: string) => void
}

const benches: Record<
  string,
  { readonly what: string; readonly load: () => Promise<(options: BenchOptions) => Promise<Report>> }
> = {
  run: {
    what: 'from `buildctl build` to a Running pod, against build + push to a registry + pull (needs root; uses the lab)',
    load: async () => (await import('./run.ts')).benchRun,
  },
  idle: {
    what: 'what the agent costs a node that builds nothing: memory and processor (needs root; uses the lab)',
    load: async () => (await import('./idle.ts')).benchIdle,
  },
  deliver: {
    what: 'build end to Running, and one build for three nodes against push + pull; --only start | spread, --size of the largest image',
    load: async () => (await import('./deliver.ts')).benchDeliver,
  },
  place: {
    what: 'placement in a large cluster on a real kube-apiserver: decisions, memory, events through broken watches',
    load: async () => (await import('./place/place.ts')).benchPlace,
  },
  mirror: {
    what: 'ordinary pulls with and without the mirror, its 404, bytes from another node; --size of the big image (needs root)',
    load: async () => (await import('./mirror.ts')).benchMirror,
  },
  platforms: {
    what: 'a compilation for two platforms: split, whole with emulation, buildx with two nodes; context bytes; --only compile | context (needs root)',
    load: async () => (await import('./platforms.ts')).benchPlatforms,
  },
  relay: {
    what: 'the relay beside a direct connection, nginx and haproxy: upload, export, unary, builds, idle (needs root)',
    load: async () => (await import('./relay.ts')).benchRelay,
  },
}

const usage = `Usage: npm run -s bench -- NAME [--runs N] [--size MIB] [--nodes N] [--pods N] [--direct] [--only PART]... [--json FILE]

Prints a table; --json also writes it to FILE. Ratios are against the reference named in the case, in the same run.

${Object.entries(benches)
  .map(([name, bench]) => `  ${name.padEnd(8)} ${bench.what}`)
  .join('\n')}`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'string' },
    runs: { type: 'string', default: '5' },
    size: { type: 'string', default: '1024' },
    nodes: { type: 'string', default: '5000' },
    pods: { type: 'string', default: '150000' },
    direct: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true, default: [] },
    help: { type: 'boolean', short: 'h' },
  },
})
const [name] = positionals
const bench = name === undefined ? undefined : benches[name]
const runs = Number(values.runs)
const size = Number(values.size)
if (values.help) {
  console.log(usage)
} else if (!bench || positionals.length !== 1 || !Number.isInteger(runs) || runs < 1 || !(size >= 1)) {
  console.error(name !== undefined && !bench ? `bench: no such benchmark: ${name}\n\n${usage}` : usage)
  process.exitCode = 2
} else {
  const started = Date.now()
  const report = await (
    await bench.load()
  )({
    runs,
    size,
    nodes: Number(values.nodes),
    pods: Number(values.pods),
    direct: values.direct,
    only: values.only,
    progress: (text) => console.error(`[${((Date.now() - started) / 1000).toFixed(0).padStart(4)}s] ${text}`),
  })
  console.log(table(report))
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(report, undefined, 2)}\n`)
}
