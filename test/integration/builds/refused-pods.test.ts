import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Build, buildResources } from '../../../src/api/builds/builds.ts'
import type { Controller } from '../../../src/controller/controller.ts'
import type { KubernetesObject } from '../../../src/kernel/k8s/objects.ts'
import { resources } from '../../../src/kernel/k8s/resources.ts'
import { startJobController } from '../fixtures/job-controller.ts'
import { until } from '../fixtures/until.ts'
import { type Builds, startBuilds } from './builds.ts'

let builds: Builds
let jobController: Awaited<ReturnType<typeof startJobController>>
let controller: Controller

beforeAll(async () => {
  builds = await startBuilds()
  jobController = await startJobController(builds.installed.server)
  controller = await builds.controller()
})
afterAll(async () => {
  await controller?.stop()
  await jobController?.close()
  await builds?.stop()
})

const running = (build: Build) => build.status?.conditions?.find(({ type }) => type === 'Running')
const says = (name: string, text: string, namespace: string): Promise<Build> =>
  builds.seen(name, `says "${text}"`, ({ status }) => status?.message?.includes(text) === true, namespace)

// Both at once, each in a namespace of its own: most of the time they wait for the Job controller to try again.

test.concurrent(
  'a pod that Pod Security refuses is said on the Build within seconds, which stays as it is',
  async () => {
    const namespace = 'strict'
    await builds.namespace(namespace)
    const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' }
    await builds.admin.patch(resources.namespaces, { name: namespace }, { metadata: { labels } })
    const began = Date.now()
    const before = [{ image: 'busybox', securityContext: { privileged: true, allowPrivilegeEscalation: true } }]
    await builds.make('privileged', { source: { dockerfile: 'FROM a' }, steps: { before } }, namespace)
    const build = await says('privileged', 'violates PodSecurity "restricted:latest"', namespace)
    expect(Date.now() - began).toBeLessThan(30_000)
    expect(build.status).toMatchObject({ phase: 'Starting', attempt: 1 })
    // Not the pod's name, which is another one at every try.
    expect(build.status?.message).toMatch(new RegExp(`^Job ${build.status?.job} gets no pod: forbidden: violates`))
    expect(running(build)).toMatchObject({ status: 'False', reason: 'PodRefused', message: build.status?.message })
    // What is as it was is not written again.
    const { resourceVersion } = build.metadata ?? {}
    await builds.make('wakes-the-controller', {
      source: { dockerfile: 'FROM a' },
      trigger: 'OnPull',
      output: { names: ['a'] },
    })
    await builds.seen('wakes-the-controller', 'is looked at', ({ status }) => status !== undefined)
    expect((await builds.get('privileged', namespace)).metadata?.resourceVersion).toBe(resourceVersion)
  },
)

test.concurrent('a quota that is full is said, and when it is free the pod comes and the message goes', async () => {
  const namespace = 'full'
  await builds.namespace(namespace)
  const quota = { apiVersion: 'v1', kind: 'ResourceQuota', metadata: { name: 'none', namespace } }
  const found = await builds.admin.apply<KubernetesObject>({
    ...quota,
    spec: { hard: { pods: '0' } },
  } as KubernetesObject)
  const kind = await builds.admin.resource(found.apiVersion ?? 'v1', 'ResourceQuota')
  await until('the quota holds', async () => {
    const one = await builds.admin.get<KubernetesObject & { status?: { hard?: object } }>(kind, {
      namespace,
      name: 'none',
    })
    return one.status?.hard !== undefined
  })
  await builds.make('waits', { source: { dockerfile: 'FROM a' } }, namespace)
  const build = await says('waits', 'exceeded quota: none', namespace)
  expect(build.status?.phase).toBe('Starting')
  await builds.admin.patch(kind, { namespace, name: 'none' }, { spec: { hard: { pods: '5' } } })
  const free = await builds.seen('waits', 'has a pod', ({ status }) => status?.pod !== undefined, namespace)
  expect(free.status?.message).toBeUndefined()
  await builds.admin.delete(buildResources.builds, { namespace, name: 'waits' })
})
