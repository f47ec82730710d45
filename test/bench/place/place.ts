import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { processEnv } from '../../../src/kernel/config/env.ts'
import type { KubernetesClient } from '../../../src/kernel/k8s/client.ts'
import { resources } from '../../../src/kernel/k8s/resources.ts'
import { start, type Child } from '../../../src/kernel/process/start.ts'
import { startApiServer, type ApiServer } from '../../integration/fixtures/apiserver.ts'
import { startTcpProxy } from '../../integration/fixtures/tcp-proxy.ts'
import { until } from '../../integration/fixtures/until.ts'
import type { BenchOptions } from '../benches.ts'
import { type Measurement, type Report, summarize } from '../report.ts'
import { startAgents } from './agents.ts'
import { buildProgram } from './built.ts'
import { everywhere, leaveOneProcessor } from './cores.ts'
import { makeFleet, type Fleet } from './fleet.ts'
import { loadCluster } from './load.ts'
import { filling } from './writer.ts'
import { podLike } from './pod.ts'
import { freePort } from '../../free-port.ts'

const required = 'required'
const ours = 'insitu'
const breaks = 100

/**
 * Placement in a large cluster on a real kube-apiserver: decisions per second and how long each takes while pods come
 * and go; the memory of a real gateway process; how long an event takes to reach the view when its watches are cut.
 */
export async function benchPlace({ runs, nodes, pods, direct, progress }: BenchOptions): Promise<Report> {
  progress(`${nodes} nodes, ${pods} pods: starting etcd and kube-apiserver`)
  const server = await startApiServer({ large: true, ...(direct ? {} : { first: filling }) })
  const client = await server.client()
  try {
    const fleet = makeFleet(nodes, pods)
    await loadCluster({ server, client, fleet, direct, progress })
    if (!direct) {
      progress('the API server again, as it is in a cluster')
      await server.kill()
      await server.start()
    }
    progress('a gateway as the image has it')
    const memory = await gatewayMemory(server, client, fleet, progress)
    const decisions = await measureView(server, client, fleet, runs, progress)
    const written = direct ? 'into etcd' : 'through the API'
    return summarize(`place, objects written ${written},`, required, [
      ...decisions,
      ...rows('gateway resident, synced', 'MiB', 256, memory),
    ])
  } finally {
    client.close()
    await server.close()
  }
}

const rows = (name: string, unit: string, limit: number, values: readonly number[]): Measurement[] => [
  { case: name, subject: required, unit, values: [limit] },
  { case: name, subject: ours, unit, values },
]

/** @returns MiB resident from when the gateway is ready, for a minute: half of it quiet, half while pods come and go. */
async function gatewayMemory(
  server: ApiServer,
  client: KubernetesClient,
  fleet: Fleet,
  progress: BenchOptions['progress'],
) {
  const program = await buildProgram()
  const probes = await freePort()
  const agents = await startAgents(client)
  const pod = await podLike(server)
  const gateway = await start(
    pod.command,
    [
      ...pod.args,
      ...[
        program.insitu,
        'gateway',
        '--listen',
        'tcp://127.0.0.1:0',
        '--probes',
        String(probes),
        '--log-level',
        'warn',
      ],
    ],
    {
      env: { ...pod.env, PATH: processEnv()['PATH'] ?? '', HOME: '/nonexistent', NODE_ENV: 'production' },
      onLine: (line) => progress(`gateway: ${line.slice(0, 200)}`),
    },
  )
  try {
    const ready = async () => (await fetch(`http://127.0.0.1:${probes}/readyz`).catch(() => undefined))?.status === 200
    await until('the gateway is ready', ready, 600_000)
    const values: number[] = []
    const sample = async (wait: number): Promise<void> => {
      await new Promise((resolve) => setTimeout(resolve, wait))
      const { resident, peak } = await memoryOf(gateway)
      progress(`gateway: ${resident.toFixed(0)} MiB resident, at most ${peak.toFixed(0)}`)
      values.push(resident)
    }
    for (const wait of [1000, 10_000, 10_000, 10_000]) await sample(wait)
    const churn = startChurn(client, fleet)
    for (const wait of [10_000, 10_000, 10_000]) await sample(wait)
    progress(`gateway: ${await churn.stop()} pods came and went`)
    values.push((await memoryOf(gateway)).peak)
    return values
  } finally {
    await gateway.stop(10_000)
    await agents.close()
    await pod.close()
    await program.close()
  }
}

/** proc_pid_status(5) */
async function memoryOf({ pid }: Child): Promise<{ resident: number; peak: number }> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  const mebibytes = (field: string): number =>
    Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) / 1024
  return { resident: mebibytes('VmRSS'), peak: mebibytes('VmHWM') }
}

interface Decided {
  readonly rate: number
  readonly all: Quantiles
  /** Of processor time, which other programs on the machine do not lengthen. */
  readonly processor: Quantiles
  readonly kinds: readonly (Quantiles & { readonly kind: string; readonly rules: readonly string[] })[]
  /** Bytes resident of the process that has decided. */
  readonly resident: number
}

interface Quantiles {
  readonly p50: number
  readonly p99: number
  readonly max: number
}

async function measureView(
  server: ApiServer,
  client: KubernetesClient,
  fleet: Fleet,
  runs: number,
  progress: BenchOptions['progress'],
): Promise<Measurement[]> {
  const proxy = await startTcpProxy(server.port)
  await leaveOneProcessor()
  const worker = await startWorker(server, proxy.port, fleet, progress)
  const measurements: Measurement[] = []
  try {
    const [rates, p99s, processors, memory] = [[] as number[], [] as number[], [] as number[], [] as number[]]
    const kinds = new Map<string, number[]>()
    for (let run = 0; run <= runs; run++) {
      const churn = startChurn(client, fleet)
      // The first run warms the compiler up, as the first minutes of a gateway do.
      const { rate, all, processor, kinds: each, resident } = await worker.ask<Decided>({ decide: 9000 })
      const events = await churn.stop()
      progress(
        `run ${run}/${runs}: ${rate.toFixed(0)}/s, p50 ${all.p50.toFixed(3)} ms, p99 ${all.p99.toFixed(3)} ms, max ${all.max.toFixed(1)} ms, p99 of processor time ${processor.p99.toFixed(3)} ms, ${events} pods came and went, ${(resident / 2 ** 20).toFixed(0)} MiB resident`,
      )
      for (const k of each)
        progress(
          `  ${k.kind} (${k.rules.join()}): p50 ${k.p50.toFixed(3)}, p99 ${k.p99.toFixed(3)}, max ${k.max.toFixed(1)} ms`,
        )
      if (run === 0) continue
      rates.push(rate)
      p99s.push(all.p99)
      processors.push(processor.p99)
      memory.push(resident / 2 ** 20)
      for (const k of each) kinds.set(k.kind, [...(kinds.get(k.kind) ?? []), k.p99])
    }
    measurements.push(
      ...rows('decisions per second', '/s', 1100, rates),
      ...rows('decision, p99', 'ms', 1, p99s),
      ...rows('decision, p99 of processor time', 'ms', 1, processors),
      ...rows('view and placer alone, resident after deciding', 'MiB', 256, memory),
    )
    for (const [kind, values] of kinds) measurements.push(...rows(`p99, rule ${kind}`, 'ms', 1, values))
    const latencies = await throughBreaks(client, fleet, worker, () => proxy.cut(), progress)
    latencies.sort((a, b) => a - b)
    const p99 = latencies[Math.floor(latencies.length * 0.99)] as number
    measurements.push(...rows(`event → view, p99 of ${breaks} broken watches`, 's', 1, [p99 / 1000]))
    return measurements
  } finally {
    await worker.stop()
    await proxy.close()
  }
}

interface Worker {
  ask<T>(command: object): Promise<T>
  stop(): Promise<void>
}

async function startWorker(
  server: ApiServer,
  port: number,
  fleet: Fleet,
  progress: BenchOptions['progress'],
): Promise<Worker> {
  const waiting: ((answer: unknown) => void)[] = []
  const next = <T>(): Promise<T> => new Promise((resolve) => waiting.push(resolve as (answer: unknown) => void))
  const synced = next<{ synced: number }>()
  // As bin/insitu has them.
  const young = ['--max-semi-space-size=2', '--no-parallel-scavenge']
  const heap = ['--initial-heap-size=64', '--heap-growing-percent=25', ...young]
  const flags = ['--disable-warning=ExperimentalWarning', '--external-memory-accounted-in-global-limit', ...heap]
  const [program, ...args] = [...everywhere, 'node', ...flags, join(import.meta.dirname, 'worker.ts')]
  const child = await start(program, args, {
    pipe: true,
    env: {
      PATH: processEnv()['PATH'] ?? '',
      HOME: '/nonexistent',
      KUBECONFIG: await server.kubeconfigFor(port),
      NODES: String(fleet.nodes.length),
      PODS: String(fleet.workloads.reduce((sum, w) => sum + w.nodes.length, fleet.nodes.length)),
    },
    onLine(line) {
      if (line.startsWith('{') && !line.startsWith('{"level')) waiting.shift()?.(JSON.parse(line))
      else progress(`view: ${line.slice(0, 300)}`)
    },
  })
  progress(`the view was complete after ${((await synced).synced / 1000).toFixed(1)} s`)
  return {
    ask<T>(command: object) {
      const answer = next<T>()
      child.stdin?.write(`${JSON.stringify(command)}\n`)
      return answer
    },
    async stop() {
      child.stdin?.end()
      await child.stop(5000)
    },
  }
}

const bench = 'ns-0'
const podOf = (name: string, node: string): object => ({
  metadata: { name, namespace: bench, labels: { app: 'churn' } },
  spec: {
    nodeName: node,
    containers: [{ name: 'c', image: 'registry.example.test/churn:v1', resources: { requests: { cpu: '100m' } } }],
  },
})

/** Pods that come and go all the time. */
function startChurn(client: KubernetesClient, { nodes }: Fleet): { stop(): Promise<number> } {
  const stopped = new AbortController()
  let count = 0
  const one = async (id: number): Promise<void> => {
    for (let i = 0; !stopped.signal.aborted; i++) {
      const name = `churn-${id}-${i}`
      await client.create(
        resources.pods,
        { namespace: bench },
        podOf(name, nodes[(id * 31 + i * 7) % nodes.length] as string),
      )
      await client.delete(resources.pods, { namespace: bench, name }, { gracePeriodSeconds: 0 })
      count += 1
    }
  }
  const all = Promise.all([one(0), one(1)])
  return {
    async stop() {
      stopped.abort()
      await all
      return count
    },
  }
}

/** @returns milliseconds from the server's answer to the write until the view has it, all watches being cut in between. */
async function throughBreaks(
  client: KubernetesClient,
  { nodes }: Fleet,
  worker: Worker,
  cut: () => void,
  progress: BenchOptions['progress'],
): Promise<number[]> {
  const latencies: number[] = []
  for (let i = 0; i < breaks; i++) {
    const name = `event-${Date.now()}-${i}`
    const seen = worker.ask<{ at: number }>({ await: name })
    cut()
    await client.create(resources.pods, { namespace: bench }, podOf(name, nodes[i % nodes.length] as string))
    const written = performance.timeOrigin + performance.now()
    latencies.push(Math.max(0, (await seen).at - written))
    await client.delete(resources.pods, { namespace: bench, name }, { gracePeriodSeconds: 0 })
    if (i % 20 === 19)
      progress(`${i + 1} broken watches, at most ${Math.max(...latencies).toFixed(0)} ms until an event arrived`)
  }
  const { freshness } = await worker.ask<{ freshness: { resource: string; reconnects: number; relists: number }[] }>({
    freshness: true,
  })
  const watch = freshness.find((f) => f.resource === 'pods')
  progress(
    `the watch of pods was opened again ${watch?.reconnects} times, pods were listed again ${watch?.relists} times`,
  )
  return latencies
}
