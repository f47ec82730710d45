import { createInterface } from 'node:readline'
import { namespace } from '../../../src/api/names.ts'
import { createKubernetesDirectory } from '../../../src/gateway/directory/kubernetes.ts'
import { createKubernetesPlacer } from '../../../src/gateway/placement/kubernetes.ts'
import type { PlacementRequest } from '../../../src/gateway/placement/placer.ts'
import { watchCluster } from '../../../src/gateway/placement/view.ts'
import { processEnv } from '../../../src/kernel/config/env.ts'
import { createKubernetesClient } from '../../../src/kernel/k8s/client.ts'
import { createLogger } from '../../../src/kernel/log.ts'
import { imageOf, makeFleet, type FleetWorkload } from './fleet.ts'

/**
 * The gateway's view and placer in a process of their own, as the gateway wires them. Takes commands, one JSON object a
 * line, and answers each with a line: `{"decide":N}`, `{"await":"pod"}`.
 */
const env = processEnv()
const fleet = makeFleet(Number(env['NODES']), Number(env['PODS']))
const client = await createKubernetesClient()
const logger = createLogger({ level: 'error' })
const noTls = { current: () => ({ cert: '', key: '', ca: '' }), onChange: () => () => {} }
const directory = createKubernetesDirectory({ client, namespace, tls: noTls, logger })
const busy = new Map(fleet.nodes.slice(0, 200).map((node, i) => [node, 1 + (i % 5)]))
const view = watchCluster({
  client,
  logger,
  agents: () => directory.agents,
  onAgent: (listener) => directory.onChange(listener),
  busy: () => busy,
})
const placer = createKubernetesPlacer({ client, view, logger })
const started = performance.now()
await directory.whenSynced()
await view.whenComplete()
say({ synced: performance.now() - started })

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line) as { decide?: number; await?: string; freshness?: boolean }
  if (command.decide !== undefined) say(await decide(command.decide))
  else if (command.await !== undefined) say({ at: await seen(command.await) })
  else if (command.freshness) say({ freshness: view.freshness() })
}
await Promise.all([view.stop(), directory.stop()])
client.close()

function say(answer: object): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}

/** @returns when the pod was in the view, on the clock that processes share (milliseconds since 1970). */
async function seen(name: string): Promise<number> {
  while (view.pod('ns-0', name) === undefined) await new Promise((resolve) => setTimeout(resolve, 1))
  return performance.timeOrigin + performance.now()
}

type Kind = readonly [string, (w: FleetWorkload, i: number) => PlacementRequest | undefined]

function kinds(): readonly Kind[] {
  const request = (image: string, more: Partial<PlacementRequest> = {}): PlacementRequest => ({
    images: [image],
    platforms: ['linux/amd64'],
    cacheKey: image.slice(0, image.lastIndexOf(':')),
    ...more,
  })
  const template = (shape: FleetWorkload['shape']) => (w: FleetWorkload) =>
    w.kind === 'Deployment' && w.shape === shape && w.waiting === undefined ? request(imageOf(w, 'v2')) : undefined
  return [
    ['said, node', (w) => request(imageOf(w, 'v2'), { node: w.nodes[0] })],
    ['said, for', (w) => request(imageOf(w, 'v2'), { workload: `${w.namespace}/${w.kind.toLowerCase()}/${w.name}` })],
    ['waiting', (w) => (w.waiting === undefined ? undefined : request(imageOf(w, 'new')))],
    ['running', (w) => (w.kind === 'Deployment' ? undefined : request(imageOf(w, 'v2')))],
    ['template, plain', template('plain')],
    ['template, anti-affinity', template('apart')],
    ['template, affinity', template('together')],
    ['template, spread', template('spread')],
    ['anywhere', (_, i) => request(`registry.example.test/new/thing-${i}:v1`)],
  ]
}

/** So many decisions of all kinds in turns, events being handled between them. */
async function decide(count: number): Promise<object> {
  const requests = kinds().map(([kind, make]) => ({
    kind,
    list: fleet.workloads.flatMap((w, i) => make(w, i) ?? []),
    times: [] as number[],
    rules: new Set<string>(),
  }))
  const all: number[] = []
  const processor: number[] = []
  const begun = performance.now()
  for (let i = 0; i < count; i++) {
    const group = requests[i % requests.length] as (typeof requests)[number]
    const chosen = group.list[Math.imul(i, 2654435761) % group.list.length] ?? group.list[i % group.list.length]
    const usage = processorTime()
    const before = performance.now()
    const { rule } = await placer.place(chosen as PlacementRequest)
    const took = performance.now() - before
    processor.push(processorTime() - usage)
    group.times.push(took)
    group.rules.add(rule)
    all.push(took)
    if (i % 8 === 7) await new Promise((resolve) => setImmediate(resolve))
  }
  const seconds = (performance.now() - begun) / 1000
  return {
    rate: count / seconds,
    all: quantiles(all),
    processor: quantiles(processor),
    kinds: requests.map(({ kind, times, rules }) => ({ kind, rules: [...rules], ...quantiles(times) })),
    resident: process.memoryUsage.rss(),
  }
}

/**
 * Milliseconds of this thread. The kernel brings the account of a running thread up to date for the whole process only;
 * without asking for that first, the thread's own figure moves at the timer's pace.
 */
function processorTime(): number {
  process.cpuUsage()
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}

function quantiles(values: number[]): { p50: number; p99: number; max: number } {
  values.sort((a, b) => a - b)
  const at = (q: number): number => values[Math.min(values.length - 1, Math.floor(values.length * q))] ?? Number.NaN
  return { p50: at(0.5), p99: at(0.99), max: at(1) }
}
