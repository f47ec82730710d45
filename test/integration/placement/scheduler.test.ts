import { afterAll, beforeAll, expect, test } from 'vitest'
import { processEnv } from '../../../src/kernel/config/env.ts'
import { watchCluster, type LiveView } from '../../../src/gateway/placement/view.ts'
import { fitOf, refusal, takes } from '../../../src/gateway/placement/rules/template.ts'
import { hostPorts } from '../../../src/gateway/placement/scheduling/demand.ts'
import type { RawPodSpec } from '../../../src/gateway/placement/scheduling/pod-spec.ts'
import type { KubernetesClient } from '../../../src/kernel/k8s/client.ts'
import { KubernetesError } from '../../../src/kernel/k8s/failure.ts'
import type { KubernetesObject } from '../../../src/kernel/k8s/objects.ts'
import { resources } from '../../../src/kernel/k8s/resources.ts'
import { createLogger } from '../../../src/kernel/log.ts'
import { startApiServer, type ApiServer } from '../fixtures/apiserver.ts'
import { startScheduler, type Scheduler } from '../fixtures/scheduler.ts'
import { until } from '../fixtures/until.ts'
import { makeCandidate, makeNode, makeResident, makeVolumes, namespaces, type MadePod } from './generate.ts'
import { createRandom, type Random } from '../../random.ts'

/**
 * Which nodes a pod can go to: ours against kube-scheduler's, in made-up clusters. INSITU_SEED is where they come from
 * (`random` for new ones), INSITU_CASES how many pods are compared.
 */
const given = processEnv()['INSITU_SEED'] ?? '244548548'
const seed = given === 'random' ? Math.floor(Math.random() * 2 ** 32) : Number(given)
const wanted = Number(processEnv()['INSITU_CASES'] ?? 1000)
const perWorld = 50
const nodeCount = 16

let server: ApiServer
let client: KubernetesClient
let scheduler: Scheduler
let view: LiveView

beforeAll(async () => {
  server = await startApiServer()
  client = await server.client()
  for (const [name, labels] of Object.entries(namespaces)) {
    await client.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } })
  }
  await client.apply({
    ...{ apiVersion: 'node.k8s.io/v1', kind: 'RuntimeClass', metadata: { name: 'heavy' }, handler: 'heavy' },
    overhead: { podFixed: { cpu: '150m', memory: '120Mi' } },
  } as KubernetesObject)
  const { volumes, claims } = makeVolumes()
  for (const object of [...volumes, ...claims]) await client.apply(object)
  scheduler = await startScheduler(server)
  view = watchCluster({ client, logger: createLogger({ level: 'error' }), agents: () => new Map() })
  await view.whenComplete()
})
afterAll(async () => {
  await view?.stop()
  await scheduler?.close()
  client?.close()
  await server?.close()
})

interface RawPod extends KubernetesObject {
  readonly metadata: { readonly namespace: string; readonly name: string; readonly uid: string }
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] }
}

/** @returns undefined for a pod that the API server does not take: the generator knows no validation. */
async function create(pod: MadePod): Promise<RawPod | undefined> {
  try {
    return await client.create<RawPod>(resources.pods, { namespace: pod.metadata.namespace }, pod)
  } catch (error) {
    if (error instanceof KubernetesError && /invalid|must|Forbidden|forbidden/.test(error.message)) return undefined
    throw error
  }
}

/**
 * Two pods of one node never have the same host port: a kubelet does not run the second one. kube-scheduler keeps a set
 * of ports, so when one of two such pods ends it takes the port for free while the other one is still there.
 */
function withoutClashes(pods: readonly MadePod[]): MadePod[] {
  const taken = new Set<string>()
  return pods.map((pod) => {
    const ports = hostPorts(pod.spec as RawPodSpec).map(
      (p) => `${String(pod.spec['nodeName'])} ${p.protocol} ${p.port}`,
    )
    const clashes = ports.some((port) => taken.has(port)) || new Set(ports).size < ports.length
    for (const port of ports) taken.add(port)
    return clashes ? { ...pod, spec: { ...pod.spec, ...portless(pod.spec) } } : pod
  })
}

function portless(spec: MadePod['spec']): Partial<MadePod['spec']> {
  const strip = (containers: unknown): object[] =>
    ((containers ?? []) as object[]).map((container) => ({ ...container, ports: [] }))
  return { containers: strip(spec['containers']), initContainers: strip(spec['initContainers']) }
}

/** Nodes, and pods on them: running, resized, being deleted, over. */
async function settle(r: Random): Promise<string[]> {
  const names = Array.from({ length: nodeCount }, (_, i) => `n${i}`)
  await Promise.all(
    names
      .map((name) => makeNode(r, name))
      .map(async ({ metadata, spec, status }) => {
        await client.create(resources.nodes, {}, { metadata, spec })
        // The TaintNodesByCondition admission plug-in adds a taint to new nodes.
        await client.patch(resources.nodes, { name: metadata.name }, { spec: { taints: spec['taints'] } })
        await client.patch(resources.nodes, { name: metadata.name, subresource: 'status' }, { status })
      }),
  )
  const residents = withoutClashes(
    Array.from({ length: 40 }, (_, i) => makeResident(r, `resident-${i}`, r.pick(names))),
  )
  const fates = residents.map(() => r.pick(['runs', 'runs', 'runs', 'runs', 'resized', 'ends', 'over'] as const))
  await Promise.all(
    residents.map(async (made, i) => {
      const pod = await create(made)
      if (!pod) return
      const ref = { namespace: pod.metadata.namespace, name: pod.metadata.name }
      const status = { ...ref, subresource: 'status' }
      if (fates[i] === 'ends') await client.delete(resources.pods, ref, { gracePeriodSeconds: 600 })
      if (fates[i] === 'over') await client.patch(resources.pods, status, { status: { phase: 'Succeeded' } })
      if (fates[i] !== 'resized') return
      const given = { requests: { cpu: '1200m', memory: '700Mi' } }
      const container = { name: 'app', image: 'x', imageID: '', ready: true, restartCount: 0, started: true }
      const containerStatuses = [{ ...container, resources: given, allocatedResources: { cpu: '1300m' } }]
      await client.patch(resources.pods, status, { status: { phase: 'Running', containerStatuses } })
    }),
  )
  return names
}

async function clear(): Promise<void> {
  const pods = await client.list<RawPod>(resources.pods)
  await Promise.all(
    pods.map(({ metadata: { namespace, name } }) =>
      client.delete(resources.pods, { namespace, name }, { gracePeriodSeconds: 0 }),
    ),
  )
  const nodes = await client.list<KubernetesObject>(resources.nodes)
  await Promise.all(nodes.map(({ metadata }) => client.delete(resources.nodes, { name: metadata?.name })))
  await until('the view is empty', () => view.table.slots.every((slot) => slot === undefined))
}

interface Case {
  readonly made: MadePod
  readonly pod: RawPod
}

/** Waits until the scheduler has decided about all of them and the view shows everything that the server has. */
async function decided(cases: readonly Case[]): Promise<void> {
  await until('the scheduler has decided', async () => {
    const pods = await client.list<RawPod>(resources.pods)
    const over = new Set(
      pods.filter((p) => p.status?.conditions?.some((c) => c.type === 'PodScheduled')).map((p) => p.metadata.uid),
    )
    return cases.every(({ pod }) => over.has(pod.metadata.uid))
  })
  // Pods come in the order of their versions: with the last ones all others are there, in their last state.
  await until('the view has it all', () =>
    cases.every(({ pod: { metadata } }) => view.pod(metadata.namespace, metadata.name) !== undefined),
  )
  await until('the view has the nodes', () => [...view.nodes.values()].every((node) => node.allocatable.size > 0))
}

function compare({ made, pod }: Case): string | undefined {
  const { namespace, name, uid } = pod.metadata
  const workload = view.pod(namespace, name)?.homeless
  if (!workload) return `${namespace}/${name} is not in the view`
  const theirs = scheduler.feasible(uid) ?? new Set()
  const fit = fitOf(view, workload)
  const slots = view.table.slots.filter((slot) => slot?.facts !== undefined).filter((slot) => slot !== undefined)
  const differing = slots.filter((slot) => takes(fit, slot) !== theirs.has(slot.name))
  const inconsistent = slots.filter((slot) => takes(fit, slot) !== (refusal(fit, slot) === undefined))
  if (differing.length + inconsistent.length === 0) return undefined
  const lines = [...differing, ...inconsistent].map(
    (slot) => `${slot.name}: scheduler ${theirs.has(slot.name)}, ours ${refusal(fit, slot) ?? 'true'}`,
  )
  return `${lines.join('\n')}\n${JSON.stringify(made)}`
}

test(
  `seed ${seed}: the scheduler and we agree about every node, for ${wanted} pods`,
  { timeout: 600_000 },
  async () => {
    const disagreements: string[] = []
    let [compared, pairs, accepted] = [0, 0, 0]
    for (let world = 0; compared < wanted; world++) {
      const r = createRandom(seed + world)
      const nodes = await settle(r)
      const made = Array.from({ length: perWorld }, (_, i) => makeCandidate(r, `case-${i}`, nodes))
      const created = await Promise.all(
        made.map(async (m): Promise<Case | undefined> => {
          const pod = await create(m)
          return pod && { made: m, pod }
        }),
      )
      let open = created.filter((c) => c !== undefined)
      expect(open.length).toBeGreaterThan(perWorld / 2)
      await decided(open)
      compared += open.length
      pairs += open.length * nodeCount
      for (const { pod } of open) accepted += scheduler.feasible(pod.metadata.uid)?.size ?? 0
      // The scheduler may have looked before it had seen all: it is asked again, and what differs then differs.
      for (let again = 0; again < 2; again++) {
        const differing = open.filter((c) => compare(c) !== undefined)
        if (differing.length === 0) break
        open = await Promise.all(
          differing.map(async ({ made: m }, i) => {
            const metadata = { ...m.metadata, name: `again-${again}-${i}` }
            const pod = (await create({ ...m, metadata })) as RawPod
            return { made: m, pod }
          }),
        )
        await decided(open)
        if (again === 1) disagreements.push(...open.flatMap((c) => compare(c) ?? []))
      }
      await clear()
    }
    expect(disagreements.slice(0, 5)).toEqual([])
    expect(compared).toBeGreaterThanOrEqual(wanted)
    // A generator whose pods fit everywhere or nowhere would show nothing.
    expect(accepted / pairs).toBeGreaterThan(0.05)
    expect(accepted / pairs).toBeLessThan(0.5)
  },
)
