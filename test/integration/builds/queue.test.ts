import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { serviceAccounts } from '../../../src/api/names.ts'
import { processEnv } from '../../../src/kernel/config/env.ts'
import type { KubernetesObject } from '../../../src/kernel/k8s/objects.ts'
import { resources } from '../../../src/kernel/k8s/resources.ts'
import { type Child, start } from '../../../src/kernel/process/start.ts'
import { freePorts } from '../../free-port.ts'
import { createJobs } from '../fixtures/jobs.ts'
import { until } from '../fixtures/until.ts'
import { namespace as ours } from '../install/installed.ts'
import { type Builds, startBuilds } from './builds.ts'
import { workOff } from './work-off.ts'

let builds: Builds

beforeAll(async () => {
  builds = await startBuilds()
  for (const node of ['node-2', 'node-3']) await builds.cluster.agent(node)
})
afterAll(async () => {
  await Promise.all([...replicas.values()].map(({ child }) => child.stop(5000)))
  await builds?.stop()
})

// `npm run -s bench -- builds` does the same with a thousand.
test('a crowd of Builds is worked off in order, within the limits, each once', async () => {
  const limits = { perNamespace: 7, perNode: 4 }
  const done = await workOff(builds, { count: 80, limits, id: 'crowd', timeout: 240_000 })
  expect(done.builds.map(({ status }) => status?.phase)).toEqual(Array(80).fill('Succeeded'))
  expect([...done.jobs.values()]).toEqual(Array(80).fill(1))
  expect(done.most.all).toBeLessThanOrEqual(3 * limits.perNode)
  expect(done.most.node).toBeLessThanOrEqual(limits.perNode)
  for (const [namespace, names] of done.order) {
    expect(done.most.namespaces.get(namespace), namespace).toBeLessThanOrEqual(limits.perNamespace)
    // Those that name a node may have to wait for it while others pass by.
    const plain = new Set(names.filter((name) => !isOnNode(name)))
    const byAge = done.builds
      .filter(({ metadata }) => metadata?.namespace === namespace && plain.has(metadata.name ?? ''))
      .map(({ metadata }) => `${metadata?.creationTimestamp} ${metadata?.name}`)
      .toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true }))
      .map((text) => text.slice(text.indexOf(' ') + 1))
    // Turns that come together are written side by side.
    for (const [i, name] of [...plain].entries()) {
      expect(Math.abs(byAge.indexOf(name) - i), `${name} of ${namespace}`).toBeLessThan(2 * limits.perNamespace)
    }
  }
}, 300_000)

const isOnNode = (name: string): boolean => Number(name.replace('build-', '')) % 8 === 0

const program = fileURLToPath(new URL('../../../bin/insitu', import.meta.url))
const replicas = new Map<string, { readonly child: Child; readonly output: string[] }>()

interface Lease extends KubernetesObject {
  readonly spec: {
    readonly holderIdentity: string
    readonly leaseDurationSeconds: number
    readonly acquireTime: string
    readonly renewTime: string
    readonly leaseTransitions: number
  }
}
const lease = () => builds.admin.find<Lease>(resources.leases, { namespace: ours, name: serviceAccounts.controller })
const holder = async (): Promise<string | undefined> => (await lease())?.spec.holderIdentity || undefined

async function startReplicas(): Promise<void> {
  const ports = await freePorts(2)
  const { kubeconfig } = builds.installed.server
  for (const [i, name] of ['replica-1', 'replica-2'].entries()) {
    const output: string[] = []
    const child = await start(
      program,
      ['controller', '--image', 'insitu:test', '--namespace', ours, '--probes', String(ports[i]), '--config', '/none'],
      {
        env: { PATH: processEnv()['PATH'] ?? '', KUBECONFIG: kubeconfig, POD_NAME: name },
        onLine: (line) => void output.push(line),
      },
    )
    replicas.set(name, { child, output })
  }
}

test('of two replicas one acts; when it is killed the other goes on once the lease is over, and builds nothing twice', async () => {
  await startReplicas()
  const jobs = createJobs(builds.admin, 'default')
  const first = await until('one to lead', holder)
  await builds.make('before')
  const job = await until('its Job', async () => (await jobs.list())[0])
  await jobs.start(job)
  await builds.seen('before', 'runs', ({ status }) => status?.phase === 'Running')

  process.kill(replicas.get(first)?.child.pid ?? 0, 'SIGKILL')
  await builds.make('meanwhile')
  await jobs.end(job, { result: 'succeeded', digest: 'sha256:x' })
  const last = await lease()
  const second = await until('the other to lead', async () => {
    const now = await holder()
    return now === first ? undefined : now
  })
  expect([first, second].toSorted()).toEqual(['replica-1', 'replica-2'])
  const { spec } = (await lease()) as Lease
  const silent = (Date.parse(spec.acquireTime) - Date.parse(last?.spec.renewTime ?? '')) / 1000
  // Never before the lease is over; how long after it, is how often the other looks, on a machine that has time.
  expect(silent).toBeGreaterThanOrEqual(spec.leaseDurationSeconds - 0.1)
  expect(silent).toBeLessThan(2 * spec.leaseDurationSeconds)
  expect(spec.leaseTransitions).toBe((last?.spec.leaseTransitions ?? 0) + 1)

  await builds.seen('before', 'has ended', ({ status }) => status?.phase === 'Succeeded')
  const next = await until('a Job of the other', async () =>
    (await jobs.list()).find((one) => one.metadata?.uid !== job.metadata?.uid),
  )
  await jobs.end(next, { result: 'succeeded' })
  const { status } = await builds.seen('meanwhile', 'has ended', (b) => b.status?.phase === 'Succeeded')
  expect(status?.attempt).toBe(1)
  expect(await jobs.list()).toHaveLength(2)
})
