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

const program = fileURLToPath(new URL('../../../bin/insitu', import.meta.url))
let builds: Builds
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

beforeAll(async () => {
  builds = await startBuilds()
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
})
afterAll(async () => {
  await Promise.all([...replicas.values()].map(({ child }) => child.stop(5000)))
  await builds?.stop()
})

test('of two replicas one acts; when it is killed the other goes on once the lease is over, and builds nothing twice', async () => {
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
