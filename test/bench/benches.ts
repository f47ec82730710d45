import type { Report } from './report.ts'

export interface BenchOptions {
  /** Counted runs of each subject in each case. */
  readonly runs: number
  /** MiB of a transfer, where a benchmark has one. */
  readonly size: number
  /** Of the cluster of a benchmark that makes one. */
  readonly nodes: number
  readonly pods: number
  /** Objects of kind Build. */
  readonly builds: number
  /** Of a mass rebuild. */
  readonly images: number
  /** Objects are written into etcd instead of through the API. */
  readonly direct: boolean
  /** Parts of a benchmark to run; none: all. */
  readonly only: readonly string[]
  /** One line of progress on standard error. */
  readonly progress: (text: string) => void
}

/** Every benchmark by its name; each is loaded only when it is run. */
export const benches: Record<
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
  builds: {
    what: 'a crowd of Builds through the controller on a real kube-apiserver, their pods played, or with --only real on the lab with real ones; --builds N, --nodes 3 (needs root)',
    load: async () => (await import('./builds.ts')).benchBuilds,
  },
  mirror: {
    what: 'ordinary pulls with and without the mirror, its 404, bytes from another node; --only pull | 404 | peer | compress, or lab alone, --size of the big image (needs root)',
    load: async () => (await import('./mirror/mirror.ts')).benchMirror,
  },
  platforms: {
    what: 'a compilation for two platforms: split, whole with emulation, buildx with two nodes; context bytes; on the lab; --only compile | small | context (needs root)',
    load: async () => (await import('./platforms.ts')).benchPlatforms,
  },
  split: {
    what: 'one COPY for two platforms through gateway and agents, against buildx splitting between the same two daemons (needs root)',
    load: async () => (await import('./split.ts')).benchSplit,
  },
  'put-back': {
    what: 'how long a name points to another image that somebody has tagged so on a node (needs root; uses the lab)',
    load: async () => (await import('./put-back.ts')).benchPutBack,
  },
  rebuild: {
    what: 'a mass rebuild in the lab, in three levels; --images 200 --nodes 3 (needs root; uses the lab)',
    load: async () => (await import('./rebuild.ts')).benchRebuild,
  },
  relay: {
    what: 'the relay beside a direct connection, nginx and haproxy: upload, export, unary, builds, idle (needs root)',
    load: async () => (await import('./relay.ts')).benchRelay,
  },
}

/** The command line, for `parseArgs`. */
export const benchFlags = {
  json: { type: 'string' },
  runs: { type: 'string', default: '5' },
  size: { type: 'string', default: '1024' },
  nodes: { type: 'string', default: '5000' },
  pods: { type: 'string', default: '150000' },
  builds: { type: 'string', default: '1000' },
  images: { type: 'string', default: '200' },
  direct: { type: 'boolean', default: false },
  only: { type: 'string', multiple: true, default: [] as string[] },
  help: { type: 'boolean', short: 'h' },
} as const
