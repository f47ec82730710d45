import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Build, buildResources } from '../../../src/api/builds/builds.ts'
import type { Work } from '../../../src/api/builds/work.ts'
import type { Controller } from '../../../src/controller/controller.ts'
import type { KubernetesClient } from '../../../src/kernel/k8s/client.ts'
import type { KubernetesObject } from '../../../src/kernel/k8s/objects.ts'
import { resources } from '../../../src/kernel/k8s/resources.ts'
import { parseYaml } from '../../../src/kernel/k8s/yaml.ts'
import { run } from '../../../src/kernel/process/run.ts'
import { createJobs, type JobObject } from '../fixtures/jobs.ts'
import { toolsBin } from '../fixtures/paths.ts'
import { until } from '../fixtures/until.ts'
import { type Builds, startBuilds } from './builds.ts'

const namespace = 'default'
let builds: Builds
let admin: KubernetesClient
let jobs: ReturnType<typeof createJobs>
let controller: Controller
/** Milliseconds that the controller's clock is ahead. */
let ahead = 0

beforeAll(async () => {
  builds = await startBuilds()
  admin = builds.admin
  jobs = createJobs(admin, namespace)
  controller = await builds.controller({ now: () => new Date(Date.now() + ahead) })
})
afterAll(async () => {
  await controller?.stop()
  await builds?.stop()
})

const condition = (build: Build, type: string) => build.status?.conditions?.find((c) => c.type === type)
const jobOf = (build: Build): Promise<JobObject> =>
  until(`a Job of ${build.metadata?.name}`, async () =>
    (await jobs.list()).find((job) => job.metadata?.ownerReferences?.[0]?.uid === build.metadata?.uid),
  )
const digest = `sha256:${'a'.repeat(64)}`

test('a Build becomes one Job, runs, and ends with what was built', async () => {
  const build = await builds.make('plain')
  const job = await jobOf(build)
  expect(job.metadata?.ownerReferences?.[0]).toMatchObject({ kind: 'Build', name: 'plain' })
  await builds.seen('plain', 'is scheduled', (b) => condition(b, 'Scheduled')?.status === 'True' && !!b.status?.job)
  await jobs.start(job)
  const running = await builds.seen('plain', 'runs', (b) => condition(b, 'Running')?.status === 'True')
  expect(running.status).toMatchObject({ phase: 'Running', attempt: 1, pod: `${job.metadata?.name}-pod` })
  expect(condition(running, 'Succeeded')?.status).toBe('Unknown')
  await jobs.end(job, {
    result: 'succeeded',
    digest,
    names: ['docker.io/a/b:1'],
    node: 'node-1',
    commit: 'f'.repeat(40),
  })
  const { status } = await builds.seen('plain', 'has ended', (b) => condition(b, 'Succeeded')?.status === 'True')
  expect(status).toMatchObject({ phase: 'Succeeded', digest, names: ['docker.io/a/b:1'], node: 'node-1' })
  expect(status?.commit).toBe('f'.repeat(40))
  expect(status?.completionTime).toBeDefined()
  const reasons = async (): Promise<string[]> => {
    const events = await admin.list<KubernetesObject & { reason: string; involvedObject: { name: string } }>(
      resources.events,
      { namespace },
    )
    return events.filter((e) => e.involvedObject.name === 'plain').map((e) => e.reason)
  }
  // They are written after the status.
  await expect.poll(reasons, { timeout: 10_000 }).toEqual(expect.arrayContaining(['Started', 'BuildSucceeded']))
})

test('kubectl waits for it, and shows it and templates by their short names with the columns that matter', async () => {
  const kubectl = async (...args: string[]): Promise<string[][]> => {
    const { kubeconfig } = builds.installed.server
    const all = ['--kubeconfig', kubeconfig, '-n', namespace, ...args]
    const { stdout } = await run(join(toolsBin, 'kubectl'), all, { timeout: 120_000 })
    return stdout
      .trim()
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
  }
  const names = ['docker.io/a/shown:1']
  const build = await builds.make('shown', { source: { dockerfile: 'FROM scratch' }, output: { names } })
  const waits = kubectl('wait', '--for=condition=Succeeded', 'build/shown', '--timeout=110s')
  const job = await jobOf(build)
  // The deadline is that of nobody who said another: half an hour, of which a little has gone.
  expect(job.spec.activeDeadlineSeconds).toBeGreaterThan(1600)
  expect(job.spec.activeDeadlineSeconds).toBeLessThanOrEqual(1800)
  await jobs.end(job, { result: 'succeeded', digest, names, node: 'node-1' })
  expect((await waits).flat().join(' ')).toContain('condition met')
  const [head, row] = await kubectl('get', 'bld', 'shown')
  expect(head).toEqual(['NAME', 'PHASE', 'REASON', 'NODE', 'IMAGE', 'AGE'])
  expect(row?.slice(0, -1)).toEqual(['shown', 'Succeeded', 'BuildSucceeded', 'node-1', ...names])
  const [wide] = await kubectl('get', 'bld', 'shown', '-o', 'wide')
  expect(wide?.slice(5)).toEqual(['DIGEST', 'POD', 'STARTED', 'ENDED', 'AGE'])
  for (const [kind, short] of [
    ['BuildTemplate', 'bt'],
    ['ClusterBuildTemplate', 'cbt'],
  ] as const) {
    const parameters = [{ name: 'TAG', default: 'latest', description: 'Of the image.' }]
    const place = kind === 'BuildTemplate' ? { namespace } : {}
    await admin.apply({
      ...{ apiVersion: 'insitu.build/v1alpha1', kind, metadata: { name: 'shown', ...place } },
      ...{ spec: { parameters, source: { dockerfile: 'FROM scratch' } } },
    })
    const [columns, line] = await kubectl('get', short, 'shown')
    expect(columns).toEqual(['NAME', 'PARAMETERS', 'AGE'])
    expect(line?.slice(0, 2)).toEqual(['shown', 'TAG'])
  }
})

test('the Job is what pod security "restricted" takes, with the account of the Build and no Secret but its own', async () => {
  for (const name of ['hub', 'plain', 'other']) {
    await admin.apply({
      ...{ apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace, annotations: annotationsOf(name) } },
      ...{ type: 'kubernetes.io/basic-auth', stringData: { username: 'me', password: 'very secret' } },
    })
  }
  await admin.apply({
    ...{ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'build-bot', namespace } },
    ...{ secrets: [{ name: 'hub' }], imagePullSecrets: [{ name: 'plain' }] },
  })
  const enforced = 'restricted-ns'
  await admin.apply({
    ...{ apiVersion: 'v1', kind: 'Namespace' },
    metadata: { name: enforced, labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
  })
  const build = await builds.make('restricted', {
    source: { git: { url: 'https://git.example.com/a.git', secretName: 'other' } },
    serviceAccountName: 'build-bot',
    steps: { before: [{ image: 'busybox' }], after: [{ name: 'scan', image: 'scanner' }] },
  })
  const job = await jobOf(build)
  const { metadata, spec } = job.spec.template
  const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { ...metadata, name: 'p' }, spec }
  await admin.create(resources.pods, { namespace: enforced }, pod, { dryRun: true })
  expect(spec['serviceAccountName']).toBe('build-bot')
  expect(spec.initContainers?.map(({ name }) => name)).toEqual(['before-1', 'build'])
  expect(spec.containers.map(({ name }) => name)).toEqual(['scan'])
  const text = JSON.stringify(job)
  expect(text).not.toContain('very secret')
  expect(text).toContain('/var/run/insitu/registries/hub')
  expect(text).toContain('/var/run/insitu/registries/plain')
  expect(text).toContain('/var/run/insitu/secrets/other')
  // What else a Secret of the account may hold, such as a token for the API server, comes into no pod.
  expect(spec['volumes']).toContainEqual({
    name: 'insitu-registry-0',
    secret: {
      ...{ secretName: 'hub', optional: true, defaultMode: 0o440 },
      items: ['.dockerconfigjson', '.dockercfg', 'username', 'password'].map((key) => ({ key, path: key })),
    },
  })
  await jobs.end(job, { result: 'succeeded' })
})

test('the controller reads a Secret only where a RoleBinding says so; elsewhere the Build says which command it takes', async () => {
  const client = await builds.client()
  const mayRead = () =>
    client.allowed({ verb: 'get', resource: resources.secrets, namespace, name: 'hub' }).catch(() => false)
  expect(await mayRead()).toBe(false)
  await expect(client.find(resources.secrets, { namespace, name: 'hub' })).rejects.toMatchObject({ httpStatus: 403 })
  const spec = { source: { dockerfile: 'FROM scratch' }, serviceAccountName: 'build-bot' }
  const command =
    'kubectl -n default create rolebinding insitu-controller-secrets --clusterrole=insitu-controller-secrets --serviceaccount=buildkit-system:insitu-controller'

  const before = await jobOf(await builds.make('unbound', spec))
  expect(workOf(before)).toMatchObject({ basicAuth: [], unread: { secrets: ['hub', 'plain'], fix: command } })
  // The pod sees that "hub" has user and password (unreadNote), and says so at its end.
  await jobs.end(before, { result: 'failed', message: 'error: 401 Unauthorized', note: `Secret hub: ${command}` })
  const { status } = await builds.seen('unbound', 'has failed', (b) => b.status?.phase === 'Failed')
  expect(status?.message).toBe(`error: 401 Unauthorized\nSecret hub: ${command}`)
  expect(condition({ spec, status } as Build, 'Succeeded')?.message).toContain(command)
  const events = await until('its event', async () => {
    type Event = KubernetesObject & { reason: string; message: string; involvedObject: { name: string } }
    const all = await admin.list<Event>(resources.events, { namespace })
    const own = all.filter((e) => e.involvedObject.name === 'unbound' && e.reason === 'BuildFailed')
    return own.length > 0 ? own : undefined
  })
  expect(events[0]?.message).toContain(command)

  // What the command makes is what the example has.
  const example = join(import.meta.dirname, '../../../config/examples/knative/access.yaml')
  for (const object of parseYaml(await readFile(example, 'utf8')) as KubernetesObject[]) {
    await admin.apply({ ...object, metadata: { ...object.metadata, namespace } })
  }
  await until('the RoleBinding holds', mayRead)
  const after = await jobOf(await builds.make('bound', spec))
  expect(workOf(after).basicAuth).toEqual([{ secret: 'hub', servers: ['https://index.docker.io/v1/'] }])
  expect(workOf(after).unread).toBeUndefined()
  await jobs.end(after, { result: 'succeeded' })
  // In this namespace alone, and nothing but get.
  const elsewhere = { verb: 'get', resource: resources.secrets, namespace: 'kube-system', name: 'a' }
  expect(await client.allowed(elsewhere)).toBe(false)
  expect(await client.allowed({ verb: 'list', resource: resources.secrets, namespace })).toBe(false)
  client.close()
})
const workOf = (job: JobObject): Work => {
  const { annotations } = job.spec.template.metadata as { annotations?: Record<string, string> }
  return JSON.parse(annotations?.['insitu.build/work'] ?? '') as Work
}
const annotationsOf = (name: string): Record<string, string> =>
  name === 'hub' ? { 'build.knative.dev/docker-0': 'https://index.docker.io/v1/' } : {}

test('a Job that the API server does not take ends the Build with the reason', async () => {
  await builds.make('twice', {
    source: { dockerfile: 'FROM scratch' },
    steps: { before: [{ name: 'Not A Name', image: 'busybox' }] },
  })
  const { status } = await builds.seen('twice', 'has failed', (b) => b.status?.phase === 'Failed')
  expect(status?.message).toContain('Not A Name')
  expect(status?.conditions?.find((c) => c.type === 'Succeeded')).toMatchObject({ reason: 'InvalidSpec' })
})

test('a Job that cleans and is not taken holds no Build back', async () => {
  await builds.make('unclean', {
    source: { workspace: {} },
    workspace: { claimName: 'models' },
    podTemplate: { spec: { securityContext: { runAsUser: -1 } } },
  })
  await builds.seen('unclean', 'is let go', (b) => !!b.status?.completionTime && !b.metadata?.finalizers?.length)
  await admin.delete(buildResources.builds, { namespace, name: 'unclean' })
  expect(await admin.find(buildResources.builds, { namespace, name: 'unclean' })).toBeUndefined()
})

test('whatever a pod says at its end, the Build has one', async () => {
  const job = await jobOf(await builds.make('liar'))
  const said = { result: 'failed', names: 'no list', node: 7, platform: 'x'.repeat(3000), message: 'the end' }
  await jobs.end(job, JSON.stringify(said))
  const { status } = await builds.seen('liar', 'has failed', (b) => b.status?.phase === 'Failed')
  expect(status).toMatchObject({ message: 'the end', platform: 'x'.repeat(1024) })
  expect(status).not.toHaveProperty('names')
})

test('only the Build that was meant is deleted, not another one under its name', async () => {
  await builds.make('renewed', { source: { dockerfile: 'FROM scratch' }, trigger: 'OnPull', output: { names: ['a'] } })
  const ref = { namespace, name: 'renewed' }
  const former = '00000000-0000-4000-8000-000000000000'
  const refused = admin.delete(buildResources.builds, ref, { uid: former })
  await expect(refused).rejects.toMatchObject({ reason: 'Conflict' })
  await admin.delete(buildResources.builds, ref, { uid: (await builds.get('renewed')).metadata?.uid })
  expect(await admin.find(buildResources.builds, ref)).toBeUndefined()
})

test('a failed build is not tried again, and its last lines are in the status', async () => {
  const job = await jobOf(await builds.make('broken'))
  await jobs.end(job, { result: 'failed', node: 'node-1', message: '#7 [2/2] RUN false\nerror: exit code: 1' })
  const { status } = await builds.seen('broken', 'has failed', (b) => condition(b, 'Succeeded')?.status === 'False')
  expect(status).toMatchObject({ phase: 'Failed', attempt: 1, node: 'node-1' })
  expect(status?.message).toContain('exit code: 1')
  expect(status?.conditions?.find((c) => c.type === 'Succeeded')).toMatchObject({ reason: 'BuildFailed' })
})

test('what was lost is tried again, so often and not more; the Jobs of former attempts are gone', async () => {
  const build = await builds.make('unlucky', { source: { dockerfile: 'FROM scratch' }, retries: 1 })
  const first = await jobOf(build)
  await jobs.end(first, { result: 'infrastructure', message: 'error: code = Unavailable' })
  await builds.seen('unlucky', 'is tried again', (b) => b.status?.attempt === 2)
  const second = await until('the second Job', async () => {
    const all = (await jobs.list()).filter((job) => job.metadata?.name?.startsWith('unlucky-'))
    return all.length === 1 && all[0]?.metadata?.name !== first.metadata?.name ? all[0] : undefined
  })
  await jobs.end(second, 'killed without a word')
  const ended = await builds.seen('unlucky', 'has failed', (b) => condition(b, 'Succeeded')?.status === 'False')
  expect(condition(ended, 'Succeeded')).toMatchObject({ reason: 'InfrastructureFailed' })
  expect(ended.status?.attempt).toBe(2)
})

test('a step that fails is the failure of the Build', async () => {
  const build = await builds.make('step', {
    source: { dockerfile: 'FROM scratch' },
    steps: { before: [{ name: 'prepare', image: 'busybox' }] },
  })
  const job = await jobOf(build)
  await jobs.start(job)
  const pod = { namespace, name: `${job.metadata?.name}-pod`, subresource: 'status' }
  const terminated = { exitCode: 3, reason: 'Error', message: 'no disk' }
  const own = { name: 'prepare', image: 'i', imageID: '', ready: false, restartCount: 0, state: { terminated } }
  await admin.patch(resources.pods, pod, { status: { phase: 'Failed', containerStatuses: [own] } })
  await jobs.finish(job, 'BackoffLimitExceeded')
  const { status } = await builds.seen('step', 'has failed', (b) => b.status?.phase === 'Failed')
  expect(status).toMatchObject({ attempt: 1, message: 'container prepare ended with exit code 3: no disk' })
})

test('a build beside an injected container that never ends has succeeded when it has, and its Job is deleted', async () => {
  const names = ['docker.io/a/b:1']
  const job = await jobOf(await builds.make('meshed', { source: { dockerfile: 'FROM scratch' }, output: { names } }))
  await jobs.start(job)
  const pod = { namespace, name: `${job.metadata?.name}-pod`, subresource: 'status' }
  const message = JSON.stringify({ result: 'succeeded', digest, names, node: 'node-1' })
  const one = { image: 'i', imageID: '', ready: false, restartCount: 0 }
  const containerStatuses = [
    { ...one, name: 'istio-proxy', state: { running: { startedAt: '2026-01-01T00:00:00Z' } } },
    { ...one, name: 'build', state: { terminated: { exitCode: 0, reason: 'Completed', message } } },
  ]
  await admin.patch(resources.pods, pod, { status: { phase: 'Running', containerStatuses } })
  const { status } = await builds.seen('meshed', 'has succeeded', (b) => b.status?.phase === 'Succeeded')
  expect(status).toMatchObject({ digest, names, node: 'node-1', attempt: 1 })
  await until('its Job is gone', async () => (await jobs.find(job.metadata?.name ?? '')) === undefined)
})

test('cancelled: its Job is deleted at once, and it stays cancelled', async () => {
  const job = await jobOf(await builds.make('cancelled'))
  await jobs.start(job)
  await admin.patch(buildResources.builds, { namespace, name: 'cancelled' }, { spec: { cancelled: true } })
  await builds.seen('cancelled', 'has ended', (b) => b.status?.phase === 'Cancelled')
  await until('its Job is gone', async () => (await jobs.find(job.metadata?.name ?? '')) === undefined)
})

test('the timeout is the deadline of the Job, and its end says so', async () => {
  const job = await jobOf(await builds.make('slow', { source: { dockerfile: 'FROM scratch' }, timeout: '1m30s' }))
  expect(job.spec.activeDeadlineSeconds).toBeGreaterThan(60)
  expect(job.spec.activeDeadlineSeconds).toBeLessThanOrEqual(90)
  await jobs.start(job)
  await jobs.finish(job, 'DeadlineExceeded')
  const build = await builds.seen('slow', 'has failed', (b) => b.status?.phase === 'Failed')
  expect(condition(build, 'Succeeded')).toMatchObject({ reason: 'Timeout' })
  await until('its Job is gone', async () => (await jobs.find(job.metadata?.name ?? '')) === undefined)
})

test('a Job that somebody deletes ends the Build; nothing is built again', async () => {
  const job = await jobOf(await builds.make('robbed'))
  await builds.seen('robbed', 'knows its Job', (b) => b.status?.job !== undefined)
  await admin.delete(resources.jobs, { namespace, name: job.metadata?.name })
  const build = await builds.seen('robbed', 'has failed', (b) => b.status?.phase === 'Failed')
  expect(condition(build, 'Succeeded')).toMatchObject({ reason: 'JobDeleted' })
})

test('a template is waited for, and then its fields hold where the Build says nothing', async () => {
  const { buildTemplates } = buildResources
  await builds.make('of-template', {
    source: { dockerfile: 'FROM mine' },
    template: { name: 'late', arguments: [{ name: 'IMAGE', value: 'docker.io/a/late:1' }] },
  })
  const waits = await builds.seen('of-template', 'waits', (b) => b.status?.phase === 'Queued')
  expect(condition(waits, 'Succeeded')).toMatchObject({ reason: 'TemplateNotFound' })
  await admin.create(
    buildTemplates,
    { namespace },
    {
      ...{ apiVersion: 'insitu.build/v1alpha1', kind: 'BuildTemplate', metadata: { name: 'late' } },
      spec: {
        ...{ parameters: [{ name: 'IMAGE' }], source: { dockerfile: 'FROM theirs' }, output: { names: ['${IMAGE}'] } },
        history: { succeeded: 1, failed: 1 },
      },
    },
  )
  const job = await jobOf(await builds.get('of-template'))
  const { recipe } = workOf(job)
  expect(recipe).toMatchObject({ source: { dockerfile: 'FROM mine' }, output: { names: ['docker.io/a/late:1'] } })
  await jobs.end(job, { result: 'succeeded' })
  const { status } = await builds.seen('of-template', 'has ended', (b) => b.status?.phase === 'Succeeded')
  // The pod had no room for them, or nothing to say.
  expect(status?.names).toEqual(['docker.io/a/late:1'])
  // The history of the template keeps one: the older goes.
  const next = await builds.make('of-template-2', {
    template: { name: 'late', arguments: [{ name: 'IMAGE', value: 'docker.io/a/late:2' }] },
  })
  await jobs.end(await jobOf(next), { result: 'succeeded' })
  await until('the older Build is gone', () =>
    admin.find(buildResources.builds, { namespace, name: 'of-template' }).then((found) => found === undefined),
  )
  expect((await builds.get('of-template-2')).status?.phase).toBe('Succeeded')
  // Failed ones are counted for themselves.
  for (const tag of ['3', '4']) {
    const failed = await builds.make(`of-template-${tag}`, {
      template: { name: 'late', arguments: [{ name: 'IMAGE', value: `docker.io/a/late:${tag}` }] },
    })
    await jobs.end(await jobOf(failed), { result: 'failed', message: 'no' })
    await builds.seen(`of-template-${tag}`, 'has failed', (b) => b.status?.phase === 'Failed')
  }
  await until('the older failure is gone', () =>
    admin.find(buildResources.builds, { namespace, name: 'of-template-3' }).then((found) => found === undefined),
  )
  expect((await builds.get('of-template-4')).status?.phase).toBe('Failed')
  expect((await builds.get('of-template-2')).status?.phase).toBe('Succeeded')
})

test('what a template gave a Build that has begun holds until it is cleaned up, also when the template is deleted', async () => {
  const { buildTemplates } = buildResources
  const parameters = [{ name: 'IMAGE' }]
  const spec = { source: { workspace: {} }, workspace: { claimName: 'models' }, output: { names: ['${IMAGE}'] } }
  const template = {
    apiVersion: 'insitu.build/v1alpha1',
    kind: 'BuildTemplate',
    metadata: { name: 'leaves', namespace },
  }
  await admin.apply({ ...template, spec: { ...spec, parameters } } as KubernetesObject)
  const build = await builds.make('outlives', {
    template: { name: 'leaves', arguments: [{ name: 'IMAGE', value: 'docker.io/a/b:1' }] },
  })
  const first = await jobOf(build)
  await builds.seen('outlives', 'knows its Job', (b) => b.status?.job !== undefined)
  await admin.delete(buildTemplates, { namespace, name: 'leaves' })
  await jobs.end(first, { result: 'infrastructure', message: 'error: code = Unavailable' })
  const again = await builds.seen('outlives', 'is tried again', (b) => b.status?.attempt === 2)
  const recipe = { source: spec.source, workspace: spec.workspace, output: { names: ['docker.io/a/b:1'] } }
  expect(again.status?.fromTemplate).toMatchObject(recipe)
  const second = await until('the second Job', async () =>
    (await jobs.list()).find(({ metadata }) => metadata?.name?.match(/^outlives-.*-2$/)),
  )
  expect(workOf(second).recipe).toEqual(again.status?.fromTemplate)
  await jobs.start(second)
  await admin.delete(buildResources.builds, { namespace, name: 'outlives' })
  await until('its Job is gone', async () => (await jobs.find(second.metadata?.name ?? '')) === undefined)
  await jobs.collect()
  const cleaning = await until('the cleaning Job', async () =>
    (await jobs.list()).find(({ metadata }) => metadata?.name?.match(/^outlives-.*-clean$/)),
  )
  await jobs.finish(cleaning)
  await until('the Build is gone', () =>
    admin.find(buildResources.builds, { namespace, name: 'outlives' }).then((found) => found === undefined),
  )
})

test('a pod template from a ConfigMap is merged in', async () => {
  const podTemplate = `template: {metadata: {labels: {team: models}}, spec: {nodeSelector: {zone: a}, containers: [{name: build, resources: {limits: {memory: 1Gi}}, command: [sh]}]}}`
  await admin.apply({
    ...{
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'pods', namespace },
      data: { 'podtemplate.yaml': podTemplate },
    },
  })
  const build = await builds.make('merged', {
    source: { dockerfile: 'FROM scratch' },
    podTemplateFrom: { configMap: 'pods' },
  })
  const job = await jobOf(build)
  const { metadata, spec } = job.spec.template
  expect(metadata.labels).toMatchObject({ team: 'models' })
  expect(spec['nodeSelector']).toEqual({ zone: 'a' })
  expect(spec.containers[0]).toMatchObject({
    ...{ name: 'build', args: ['run-build'], resources: { limits: { memory: '1Gi' } } },
  })
  expect(spec.containers[0]).not.toHaveProperty('command')
  await jobs.end(job, { result: 'succeeded' })
})

test('a Build for which nothing can be planned keeps no other one from its end', async () => {
  await builds.make('senseless', { template: { name: 'nowhere' } })
  await builds.seen('senseless', 'waits', (b) => b.status?.phase === 'Queued')
  // No controller writes this, and no schema refuses it.
  const status = { phase: 'Failed', completionTime: '2026-01-01T00:00:00Z', fromTemplate: { cleanUp: { pod: 'soon' } } }
  await admin.patch(buildResources.builds, { namespace, name: 'senseless', subresource: 'status' }, { status })
  await jobs.end(await jobOf(await builds.make('sensible')), { result: 'succeeded' })
  await builds.seen('sensible', 'has ended', (b) => b.status?.phase === 'Succeeded')
  expect((await builds.get('senseless')).status).toMatchObject(status)
  expect(controller.leads()).toBe(true)
  await admin.delete(buildResources.builds, { namespace, name: 'senseless' })
})

test('a missing service account or ConfigMap is said on the Build', async () => {
  await builds.make('nobody', { source: { dockerfile: 'FROM scratch' }, serviceAccountName: 'nobody' })
  const { status } = await builds.seen('nobody', 'has failed', (b) => b.status?.phase === 'Failed')
  expect(status?.message).toBe('ServiceAccount nobody does not exist')
})

test('without the CA of the gateways a Build waits, says so with what to do, and goes on once it is there', async () => {
  const ca = { namespace: 'buildkit-system', name: 'insitu-ca' }
  await admin.patch(resources.configMaps, ca, { data: { 'ca.crt': '' } })
  try {
    await builds.make('without-ca')
    const waits = await builds.seen('without-ca', 'says why', (b) => condition(b, 'Scheduled')?.reason === 'CAMissing')
    const said = 'waits: ConfigMap buildkit-system/insitu-ca holds no CA (a gateway writes it once it is ready: kubectl'
    expect(condition(waits, 'Scheduled')).toMatchObject({ status: 'False' })
    expect(condition(waits, 'Scheduled')?.message).toContain(said)
    expect(waits.status).toMatchObject({ phase: 'Starting', message: expect.stringContaining(said) as string })
  } finally {
    await admin.patch(resources.configMaps, ca, { data: { 'ca.crt': 'CA' } })
  }
  const job = await jobOf(await builds.get('without-ca'))
  await jobs.start(job)
  const runs = await builds.seen('without-ca', 'runs', (b) => b.status?.phase === 'Running')
  expect(condition(runs, 'Scheduled')).toMatchObject({ status: 'True', reason: 'JobCreated' })
  expect(runs.status).not.toHaveProperty('message')
  await jobs.end(job, { result: 'succeeded' })
})

test('the directory on a claim is removed after the end, and with a Build that is deleted while it runs', async () => {
  const account = { namespace, name: 'writer' }
  await admin.apply({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: account })
  const spec = {
    source: { workspace: {} },
    workspace: { claimName: 'models' },
    serviceAccountName: account.name,
  }
  const clean = (build: Build) =>
    until('the cleaning Job', async () =>
      (await jobs.list()).find(
        (job) =>
          job.metadata?.name?.endsWith('-clean') && job.metadata.ownerReferences?.[0]?.uid === build.metadata?.uid,
      ),
    )
  const first = await builds.make('on-claim', spec)
  const job = await jobOf(first)
  expect(JSON.stringify(job)).toContain('"subPath":"on-claim-')
  await jobs.end(job, { result: 'succeeded' })
  const cleaning = await clean(first)
  expect(JSON.stringify(cleaning.spec)).toContain('"clean-workspace","--root","/claim","--directory","on-claim-')
  expect(cleaning.spec.template.spec['serviceAccountName']).toBe(account.name)
  await jobs.finish(cleaning)
  await builds.seen('on-claim', 'is let go', (b) => (b.metadata?.finalizers ?? []).length === 0)

  const second = await builds.make('on-claim-2', spec)
  await jobs.start(await jobOf(second))
  // Without its account the directory is removed in the name of another.
  await admin.delete(resources.serviceAccounts, account)
  await admin.delete(buildResources.builds, { namespace, name: 'on-claim-2' })
  await until('its Job is gone', async () =>
    (await jobs.list()).every((one) => !one.metadata?.name?.match(/^on-claim-2-.*-1$/)),
  )
  await jobs.collect()
  const cleaningSecond = await clean(second)
  expect(cleaningSecond.spec.template.spec['serviceAccountName']).toBe('default')
  await jobs.finish(cleaningSecond)
  await until('the Build is gone', () =>
    admin.find(buildResources.builds, { namespace, name: 'on-claim-2' }).then((found) => found === undefined),
  )
})

test('the directory is removed by the user and on the nodes of the pod template, and if it cannot be, an event says why', async () => {
  const podTemplate = { spec: { securityContext: { runAsUser: 1234 }, nodeSelector: { zone: 'a' }, hostNetwork: true } }
  await admin.apply({
    ...{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'models', namespace } },
    data: { 'podtemplate.yaml': JSON.stringify(podTemplate) },
  } as KubernetesObject)
  const spec = {
    source: { workspace: {} },
    workspace: { claimName: 'models' },
    podTemplateFrom: { configMap: 'models' },
  }
  const build = await builds.make('kept', spec)
  await jobs.end(await jobOf(build), { result: 'succeeded' })
  const cleaning = await until('the cleaning Job', async () =>
    (await jobs.list()).find(({ metadata }) => metadata?.name?.startsWith('kept-') && metadata.name.endsWith('-clean')),
  )
  const pod = cleaning.spec.template.spec
  expect(pod['securityContext']).toMatchObject({ runAsUser: 1234, runAsNonRoot: true })
  expect(pod['nodeSelector']).toEqual({ zone: 'a' })
  expect(pod).not.toHaveProperty('hostNetwork')
  await jobs.start(cleaning)
  const ref = { namespace, name: `${cleaning.metadata?.name}-pod`, subresource: 'status' }
  const terminated = { exitCode: 1, reason: 'Error', message: 'EACCES: permission denied' }
  const own = { name: 'clean', image: 'i', imageID: '', ready: false, restartCount: 0, state: { terminated } }
  await admin.patch(resources.pods, ref, { status: { phase: 'Failed', containerStatuses: [own] } })
  await jobs.finish(cleaning, 'BackoffLimitExceeded')
  await builds.seen('kept', 'is let go', (b) => (b.metadata?.finalizers ?? []).length === 0)
  await until('its event', async () => {
    const events = await admin.list<KubernetesObject & { reason: string; message: string }>(resources.events, {
      namespace,
    })
    return events.some(({ reason, message }) => reason === 'NotCleaned' && /stays on the claim.*EACCES/.test(message))
  })
})

test('what is kept no longer is deleted: Job and Build', async () => {
  const spec = { source: { dockerfile: 'FROM scratch' }, cleanUp: { pod: '0s', build: '2s' } }
  const job = await jobOf(await builds.make('short', spec))
  await jobs.end(job, { result: 'succeeded' })
  await until('its Job is gone', async () => (await jobs.find(job.metadata?.name ?? '')) === undefined)
  await until('the Build is gone', () =>
    admin.find(buildResources.builds, { namespace, name: 'short' }).then((found) => found === undefined),
  )
})

test('a deleted Build waits ten minutes for a quota that keeps it from being cleaned, and not for ever', async () => {
  const full = 'full'
  const pod = { restartPolicy: 'Never', containers: [{ name: 'c', image: 'i' }] }
  await builds.namespace(full)
  // Says no as a quota does, which nobody counts for in an API server alone.
  const admission = 'admissionregistration.k8s.io/v1'
  await admin.apply({
    ...{ apiVersion: admission, kind: 'ValidatingAdmissionPolicy', metadata: { name: 'full' } },
    spec: {
      matchConstraints: {
        resourceRules: [{ apiGroups: ['batch'], apiVersions: ['v1'], operations: ['CREATE'], resources: ['jobs'] }],
      },
      validations: [
        { expression: `request.namespace != '${full}'`, message: 'exceeded quota: jobs', reason: 'Forbidden' },
      ],
    },
  } as KubernetesObject)
  await admin.apply({
    ...{ apiVersion: admission, kind: 'ValidatingAdmissionPolicyBinding', metadata: { name: 'full' } },
    spec: { policyName: 'full', validationActions: ['Deny'] },
  } as KubernetesObject)
  const job = { apiVersion: 'batch/v1', kind: 'Job', metadata: { name: 'j' }, spec: { template: { spec: pod } } }
  await until('it is full', () =>
    admin.create(resources.jobs, { namespace: full }, job, { dryRun: true }).then(
      () => false,
      (error: Error) => error.message.includes('exceeded quota'),
    ),
  )
  const ref = { namespace: full, name: 'stuck' }
  const spec = { source: { workspace: {} }, workspace: { claimName: 'models' } }
  await builds.make('stuck', spec, full)
  await builds.seen('stuck', 'has its finalizer', (b) => !!b.metadata?.finalizers?.length, full)
  await admin.delete(buildResources.builds, ref)
  await until('it says what refuses', async () => {
    const events = await admin.list<KubernetesObject & { message: string }>(resources.events, { namespace: full })
    return events.some(({ message }) => /createCleanJob.*quota/.test(message))
  })
  expect(await admin.find(buildResources.builds, ref)).toBeDefined()
  ahead = 11 * 60_000
  // Something changes, or a minute passes: the next look.
  await builds.make('other', { source: { dockerfile: 'FROM a' } }, full)
  await until('it is gone', async () => (await admin.find(buildResources.builds, ref)) === undefined)
})

test('a pod that no kubelet ends is given up with its node, and no other pod can be deleted by a controller', async () => {
  ahead = 0
  const build = await builds.make('lost', { source: { dockerfile: 'FROM a' }, retries: 0 })
  const job = await jobOf(build)
  await jobs.start(job)
  const pod = { namespace, name: `${job.metadata?.name}-pod` }
  const others = { namespace, name: 'somebody-elses' }
  await admin.create(
    resources.pods,
    { namespace },
    {
      ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: others.name } },
      spec: { nodeName: 'node-1', containers: [{ name: 'c', image: 'i' }] },
    },
  )
  const client = await builds.client()
  const refused = expect.objectContaining({
    message: expect.stringContaining('may only delete pods of Builds that are deleted already') as string,
  }) as Error
  await until('the policy holds', () =>
    client.delete(resources.pods, others, { gracePeriodSeconds: 0 }).then(
      () => true,
      (error: Error) => error.message.includes('may only delete pods'),
    ),
  )
  await expect(client.delete(resources.pods, others, { gracePeriodSeconds: 0 })).rejects.toEqual(refused)
  // Nor does it end one that runs.
  await expect(client.delete(resources.pods, pod, { gracePeriodSeconds: 0 })).rejects.toEqual(refused)
  client.close()
  // The node controller evicts it, and nobody answers for the node.
  await admin.delete(resources.pods, pod)
  const disruption = { type: 'DisruptionTarget', status: 'True', reason: 'DeletionByTaintManager' }
  await admin.patch(resources.pods, { ...pod, subresource: 'status' }, { status: { conditions: [disruption] } })
  await jobs.finish(job, 'BackoffLimitExceeded')
  const { status } = await builds.seen('lost', 'has failed', (b) => b.status?.phase === 'Failed')
  expect(status?.conditions?.find((c) => c.type === 'Succeeded')).toMatchObject({ reason: 'InfrastructureFailed' })
  expect(await admin.find(resources.pods, pod)).toBeDefined()
  ahead += 3 * 60_000
  await builds.make('wake', { source: { dockerfile: 'FROM a' }, trigger: 'OnPull', output: { names: ['a'] } })
  await until('its pod is gone', async () => (await admin.find(resources.pods, pod)) === undefined)
  expect(await admin.find(resources.pods, others)).toBeDefined()
})
