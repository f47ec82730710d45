import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Build, buildResources } from '../../../src/api/builds/builds.ts'
import { readProvenance } from '../../../src/agent/images/provenance.ts'
import type { NodeOrigins } from '../../../src/api/built-on.ts'
import { serviceAccounts, tokenAudience } from '../../../src/api/names.ts'
import { parseBase } from '../../../src/cli/rebuild/base-query.ts'
import { credentialsIn } from '../../../src/cli/rebuild/credentials.ts'
import type { RebuildReport } from '../../../src/cli/rebuild/report.ts'
import { rebuild, type RebuildOptions } from '../../../src/cli/rebuild/run.ts'
import type { Controller } from '../../../src/controller/controller.ts'
import { type GatewayIdentity, gatewayIdentity } from '../../../src/gateway/certificate/identity.ts'
import type { KubernetesClient } from '../../../src/kernel/k8s/client.ts'
import type { KubernetesObject } from '../../../src/kernel/k8s/objects.ts'
import { resources } from '../../../src/kernel/k8s/resources.ts'
import { parseYaml, toYaml } from '../../../src/kernel/k8s/yaml.ts'
import { createLogger } from '../../../src/kernel/log.ts'
import { type Buildkitd, startBuildkitd } from '../fixtures/buildkitd.ts'
import { buildctl, startClient } from '../fixtures/clients.ts'
import { createWorkspace, type Workspace } from '../fixtures/context.ts'
import { startGateway, type TestGateway } from '../fixtures/gateway.ts'
import { tool } from '../fixtures/paths.ts'
import { type Registry, startRegistry } from '../fixtures/registry.ts'
import { until } from '../fixtures/until.ts'
import { type BoundPod, namespace as ours } from '../install/installed.ts'
import { type Builds, startBuilds } from './builds.ts'
import { runJobs } from './kubelet.ts'

const program = fileURLToPath(new URL('../../../bin/insitu', import.meta.url))
const examples = fileURLToPath(new URL('../../../config/examples', import.meta.url))
const namespace = 'default'
let builds: Builds
let admin: KubernetesClient
let daemon: Buildkitd
let registry: Registry
let space: Workspace
let identity: GatewayIdentity
let gatewayClient: KubernetesClient
let gateway: TestGateway
let controller: Controller
let kubelet: ReturnType<typeof runJobs>
let kubeconfig: string
let rebuilder: BoundPod
let builder: BoundPod

beforeAll(async () => {
  ;[builds, daemon, registry, space] = await Promise.all([
    startBuilds(),
    startBuildkitd(),
    startRegistry(),
    createWorkspace(),
  ])
  admin = builds.admin
  gatewayClient = await (await builds.installed.pod('gateway-1', serviceAccounts.gateway, 'node-1')).client()
  identity = await gatewayIdentity({
    ...{ client: gatewayClient, namespace: ours, log: createLogger({ level: 'silent' }) },
  })
  gateway = await startGateway({
    ...{ nodes: { 'node-1': daemon }, tls: identity.tls, httpHandlers: identity.httpHandlers },
    config: { plaintext: { loopback: false, namespaces: [], cidrs: [] }, recordOwner: true, statusVertex: true },
  })
  await apply('builds/account.yaml')
  await apply('rebuild/account.yaml')
  rebuilder = await builds.installed.pod('rebuild-1', 'rebuilder', 'node-1', namespace)
  builder = await builds.installed.pod('build-1', 'builder', 'node-1', namespace)
  kubelet = runJobs({
    ...{ admin, namespace, pod: builder, directory: await space.directory() },
    gateway: { port: gateway.port, ca: identity.tls.current().ca },
  })
  controller = await builds.controller()
  kubeconfig = await kubeconfigOf(await rebuilder.token())
  await base('first')
  await apply('rebuild/images.yaml', ({ kind, metadata }) => kind !== 'Build' || metadata?.name === 'runtime')
  await succeeded('runtime')
  await apply('rebuild/images.yaml', ({ metadata }) => metadata?.name === 'orders')
  await succeeded('orders')
})
afterAll(async () => {
  await controller?.stop()
  await kubelet?.stop()
  await gateway?.close()
  identity?.close()
  gatewayClient?.close()
  await builds?.stop()
  await Promise.all([daemon?.stop(), registry?.stop(), space?.remove()])
})

/** Objects of an example; only the address of the registry is another one. */
async function apply(file: string, which: (object: KubernetesObject) => boolean = () => true): Promise<void> {
  const text = (await readFile(join(examples, file), 'utf8')).replaceAll('registry.example.com', registry.address)
  for (const object of (parseYaml(text) as KubernetesObject[]).filter(which)) {
    const { kind, metadata, ...rest } = object as KubernetesObject & { subjects?: { namespace?: string }[] }
    const subjects = rest.subjects?.map((subject) => ({ namespace, ...subject }))
    await admin.apply({
      ...rest,
      kind,
      metadata: { namespace, ...metadata },
      ...(subjects ? { subjects } : {}),
    } as KubernetesObject)
  }
}

/** The account of the example, and nobody else's rights. */
async function kubeconfigOf(token: string): Promise<string> {
  const [config] = parseYaml(await readFile(builds.installed.server.kubeconfig, 'utf8')) as [
    { users: { name: string; user: object }[] },
  ]
  const file = join(await space.directory(), 'kubeconfig')
  await writeFile(file, toYaml({ ...config, users: config.users.map(({ name }) => ({ name, user: { token } })) }))
  return file
}

/** Builds the base anew, past insitu, and pushes it. @returns its digest */
async function base(release: string): Promise<string> {
  const context = await space.context('COPY release /release\n', { release: `${release}\n` })
  const name = `${registry.address}/base/os:1`
  const metadata = join(await space.directory(), 'metadata')
  const args = [`--output=type=image,name=${name},push=true`, `--metadata-file=${metadata}`]
  const { exitCode, output } = await buildctl(daemon.address, context, args).ended
  if (exitCode !== 0) throw new Error(output)
  return (JSON.parse(await readFile(metadata, 'utf8')) as Record<string, string>)['containerimage.digest'] ?? ''
}

const succeeded = async (name: string): Promise<Build> => {
  const build = await builds.seen(name, 'has ended', ({ status }) => status?.completionTime !== undefined)
  expect(build.status, JSON.stringify(build.status)).toMatchObject({ phase: 'Succeeded' })
  return build
}
const make = (name: string, dockerfile: string, more: object = {}) =>
  builds.make(name, {
    serviceAccountName: 'builder',
    source: { dockerfile: dockerfile.replaceAll('REGISTRY', registry.address) },
    output: { names: [`${registry.address}/team/${name}:1`], push: true },
    ...more,
  })

const insitu = (...args: string[]) => {
  const url = `${registry.address}=http://${registry.address}`
  const more = args.includes('--registry') ? [] : ['--registry', url]
  return startClient(program, ['rebuild', '-n', namespace, '--kubeconfig', kubeconfig, ...more, ...args], {
    env: { DOCKER_CONFIG: '/nonexistent' },
  })
}

/** What the command does, in this process: starting a program takes longer than most of it. */
async function report(base: string | undefined, more: Partial<RebuildOptions> = {}): Promise<RebuildReport> {
  const client = await rebuilder.client()
  try {
    return await rebuild({
      ...{ client, namespace, selector: undefined, base: base === undefined ? undefined : parseBase(base) },
      ...{ to: undefined, dryRun: false, parallel: 2, failFast: false, keep: 2, say: () => undefined },
      origins: () => Promise.resolve([]),
      registries: new Map([[registry.address, `http://${registry.address}`]]),
      proxies: {},
      credentials: credentialsIn([]),
      signal: new AbortController().signal,
      ...more,
    })
  } finally {
    client.close()
  }
}
const short = ({ images }: RebuildReport) =>
  Object.fromEntries(images.map(({ image, result, reason }) => [image.split('/').at(-1), reason ?? result]))
const os = () => `${registry.address}/base/os:1`
const rebuilds = async () =>
  (await admin.list<Build>(buildResources.builds, { namespace, labelSelector: 'insitu.build/rebuild-of' })).toSorted(
    (a, b) => ((a.metadata?.name ?? '') < (b.metadata?.name ?? '') ? -1 : 1),
  )

test('a Build knows from its provenance what it was built on', async () => {
  const digest = await digestOf('base/os')
  const [runtime, orders] = await Promise.all([builds.get('runtime'), builds.get('orders')])
  expect(runtime.status?.bases).toEqual([{ name: os(), digest }])
  expect(orders.status?.bases).toEqual([{ name: `${registry.address}/team/runtime:1`, digest: runtime.status?.digest }])
  expect((await report(undefined)).counts).toEqual({ current: 2 })
})

const digestOf = async (repository: string): Promise<string | null> =>
  (
    await fetch(`http://${registry.address}/v2/${repository}/manifests/1`, {
      method: 'HEAD',
      headers: { accept: 'application/vnd.oci.image.manifest.v1+json' },
    })
  ).headers.get('docker-content-digest')

test('an image that was built by hand is in the report: where it is, on what it was built, how to build it again', async () => {
  const directory = await space.directory()
  const [token, ca, ref, metadata] = ['token', 'ca.crt', 'ref', 'metadata'].map((name) => join(directory, name)) as [
    ...[string, string, string, string],
  ]
  await writeFile(token, await builder.token(tokenAudience))
  await writeFile(ca, identity.tls.current().ca)
  const context = await space.context(`FROM ${os()}\nRUN touch /by-hand\n`)
  const image = `${registry.address}/team/by-hand:1`
  const built = await startClient(program, [
    ...['connect', '--address', `127.0.0.1:${gateway.port}`, '--token-file', token, '--ca-file', ca],
    ...['--directory', join(directory, 'tls'), '--', tool('buildctl'), 'build', '--frontend=dockerfile.v0'],
    ...[`--local=context=${context}`, `--local=dockerfile=${context}`, `--output=type=image,name=${image},push=true`],
    ...[`--ref-file=${ref}`, `--metadata-file=${metadata}`],
  ]).ended
  expect(built, built.output).toMatchObject({ exitCode: 0 })
  // What the agent of a node keeps, read as it reads it.
  const origin = await readProvenance(daemon.socket, (await readFile(ref, 'utf8')).trim())
  const first = (await digestOf('base/os')) ?? ''
  expect(origin).toEqual({
    owner: `service-account ${namespace}/builder`,
    bases: [{ name: os(), digest: first, pinned: false }],
  })
  const { 'containerimage.digest': digest = '' } = JSON.parse(await readFile(metadata, 'utf8')) as Record<
    string,
    string
  >
  const reports: NodeOrigins[] = [{ node: 'node-1', images: [{ name: image, digest, ...origin }] }]
  const origins = () => Promise.resolve(reports)
  expect((await report(undefined, { origins })).counts).toEqual({ current: 3 })
  const to = `sha256:${'5'.repeat(64)}`
  for (const base of [os(), `${os()}@${first}`]) {
    const { images, counts } = await report(base, { origins, to, dryRun: true })
    expect(counts).toEqual({ planned: 2, skipped: 1 })
    expect(images.find((one) => one.image === image)).toEqual({
      ...{ image, result: 'skipped', nodes: ['node-1'], from: digest, to: digest },
      reason: expect.stringMatching(/^built by hand: .*buildctl build .*team\/by-hand:1$/) as string,
      bases: [{ name: os(), from: first, to }],
    })
  }
  expect((await report(os(), { origins, to, dryRun: true, selector: 'no=such' })).images).toEqual([])
  // Who may not look into the agents is told what the report lacks.
  const { output } = await insitu('--base', os(), '--dry-run').ended
  expect(output).toContain('images that were built by hand are not in the report')
})

test('a base that moved is followed through the levels; what fails, and what is built on that, is told apart', async () => {
  await make('fragile', 'FROM REGISTRY/base/os:1\nRUN grep first /release\n')
  await make('written', `FROM REGISTRY/base/os:1@${await digestOf('base/os')}\nRUN touch /written\n`)
  await Promise.all(['fragile', 'written'].map(succeeded))
  await make('behind', 'FROM REGISTRY/team/fragile:1\nRUN touch /behind\n')
  await succeeded('behind')
  const orders = await builds.get('orders')
  const second = await base('second')

  const planned = await report(os(), { dryRun: true })
  const levels = Object.fromEntries(planned.images.map(({ image, level }) => [image.split('/').at(-1), level]))
  expect(levels).toMatchObject({ 'runtime:1': 0, 'fragile:1': 0, 'orders:1': 1, 'behind:1': 1 })
  expect(await rebuilds()).toEqual([])

  const done = await report(undefined)
  expect(short(done)).toEqual({
    'runtime:1': 'rebuilt',
    'orders:1': 'rebuilt',
    'fragile:1': expect.stringMatching(/exit code: 1/) as string,
    'behind:1': `its base ${registry.address}/team/fragile:1 was not rebuilt`,
    'written:1': `its author wrote the digest of ${os()} down`,
  })
  expect(done).toMatchObject({ counts: { rebuilt: 2, failed: 1, skipped: 2 }, nodes: { 'node-1': 2 } })
  expect(done.peak).toBeLessThanOrEqual(2)

  const runtime = done.images.find(({ image }) => image.includes('runtime'))
  const rebuilt = await builds.get(runtime?.build?.split('/')[1] ?? '')
  expect(rebuilt.metadata?.labels).toMatchObject({ 'insitu.build/rebuild-of': 'runtime' })
  expect(rebuilt.status).toMatchObject({ digest: runtime?.to, bases: [{ name: os(), digest: second }] })
  expect(rebuilt.status?.bases?.[0]).not.toHaveProperty('pinned')
  expect(await digestOf('team/runtime')).toBe(runtime?.to)
  const order = done.images.find(({ image }) => image.includes('orders'))
  expect(order).toMatchObject({ from: orders.status?.digest, of: 'default/orders' })
  expect(await digestOf('team/orders')).toBe(order?.to)
  const after = await builds.get(order?.build?.split('/')[1] ?? '')
  expect(after.spec).toMatchObject({ template: { name: 'service' } })
  expect(after.status?.bases).toEqual([{ name: `${registry.address}/team/runtime:1`, digest: runtime?.to }])

  // What is up to date now is left alone; what failed is tried again, under another name, and is exit code 1.
  const again = await insitu('--base', os()).ended
  expect(again).toMatchObject({ exitCode: 1, output: expect.stringMatching(/failed +0 +\S+fragile:1/) as string })
  expect(again.output).toContain('1 failed, 2 skipped, 1 up to date')
  expect((await rebuilds()).filter(({ spec }) => spec.output?.names[0]?.includes('fragile'))).toHaveLength(2)
  await Promise.all(
    ['fragile', 'behind', 'written'].map((name) => admin.delete(buildResources.builds, { namespace, name })),
  )
})

test('with a digest only those that were built on that one; --to says what it is to be', async () => {
  const [first, now] = [(await builds.get('runtime')).status?.bases?.[0]?.digest ?? '', await digestOf('base/os')]
  expect((await report(`${os()}@${first}`)).counts).toEqual({})
  const back = await report(`${os()}@${now}`, { to: first, keep: 1 })
  expect(back.counts).toEqual({ rebuilt: 2 })
  const runtime = back.images.find(({ image }) => image.includes('runtime'))
  expect((await builds.get(runtime?.build?.split('/')[1] ?? '')).status?.bases).toEqual([{ name: os(), digest: first }])
  // Former rebuilds go; Builds that somebody wrote do not.
  const left = (await rebuilds()).map(({ metadata }) => metadata?.annotations?.['insitu.build/rebuild-of'])
  expect(left).toEqual(['fragile', 'orders', 'runtime'])
  expect((await builds.get('runtime')).status?.phase).toBe('Succeeded')
})

test('an interrupted run is gone on with by the next, which makes no Build twice', async () => {
  await base('third')
  const before = new Set((await rebuilds()).map(({ metadata }) => metadata?.name))
  const added = async () => (await rebuilds()).filter(({ metadata }) => !before.has(metadata?.name))
  const run = insitu('--changed')
  await until('a Build to be made', async () => (await added()).length > 0)
  run.kill('SIGINT')
  const { exitCode, output } = await run.ended
  expect({ exitCode, output }).toMatchObject({
    exitCode: 130,
    output: expect.stringContaining('interrupted') as string,
  })
  await report(undefined)
  const made = (await added()).map(({ spec, status }) => `${spec.bases?.[0]?.name} ${status?.phase}`)
  expect(made.toSorted((a, b) => (a < b ? -1 : 1))).toEqual([
    `${os()} Succeeded`,
    `${registry.address}/team/runtime:1 Succeeded`,
  ])
  expect((await report(undefined)).counts).toEqual({ current: 2 })
})

test('what cannot be rebuilt is told with its reason, and a registry that is silent with exit code 1', async () => {
  await make('never', 'FROM REGISTRY/base/os:1\nRUN false\n')
  await builds.seen('never', 'has failed', ({ status }) => status?.phase === 'Failed')
  const dockerfile = `FROM ${os()}\nRUN touch /shared\n`
  await admin.apply({
    ...{ apiVersion: 'insitu.build/v1alpha1', kind: 'ClusterBuildTemplate', metadata: { name: 'everywhere' } },
    spec: {
      serviceAccountName: 'builder',
      source: { dockerfile },
      output: { names: [`${registry.address}/team/every:1`], push: true },
    },
  } as KubernetesObject)
  await builds.make('every', { template: { kind: 'ClusterBuildTemplate', name: 'everywhere' } })
  await succeeded('every')
  await base('fourth')
  await admin.delete(buildResources.buildTemplates, { namespace, name: 'service' })
  expect((await report(undefined, { dryRun: true, selector: 'no=such' })).images).toEqual([])
  const found = short(await report(undefined, { dryRun: true }))
  expect(found).toMatchObject({
    'runtime:1': 'planned',
    'orders:1': 'BuildTemplate service does not exist',
    'never:1': `it names ${os()} and was never built`,
    'every:1': 'ClusterBuildTemplate everywhere does not exist',
  })
  const access = await readFile(join(examples, 'rebuild/cluster-templates.yaml'), 'utf8')
  for (const object of parseYaml(access) as KubernetesObject[]) await admin.apply(object)
  await until('the account to see templates of the cluster', async () => {
    const { images } = await report(undefined, { dryRun: true })
    return images.some(({ image, result }) => image.endsWith('every:1') && result === 'planned')
  })
  const { exitCode, output } = await insitu(
    '--changed',
    '--dry-run',
    '--registry',
    `${registry.address}=http://127.0.0.1:1`,
  ).ended
  expect({ exitCode, output }).toMatchObject({
    exitCode: 1,
    output: expect.stringContaining('cannot be asked') as string,
  })
})

test('the schedule of the example is taken in a namespace that takes only restricted pods', async () => {
  const restricted = 'restricted-rebuild'
  await admin.apply({
    ...{ apiVersion: 'v1', kind: 'Namespace' },
    metadata: { name: restricted, labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
  })
  await apply('rebuild/cronjob.yaml')
  const cron = await admin.get<
    KubernetesObject & { spec: { jobTemplate: { spec: { template: { spec: { containers: { args: string[] }[] } } } } } }
  >(resources.cronJobs, { namespace, name: 'rebuild' })
  const { template } = cron.spec.jobTemplate.spec
  await admin.apply({
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name: 'rebuilder', namespace: restricted },
  })
  await until('the pod is taken', () =>
    admin.create(
      resources.pods,
      { namespace: restricted },
      { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p' }, spec: template.spec },
      { dryRun: true },
    ),
  )
  const [container] = template.spec.containers
  const args = (container?.args ?? []).slice(1)
  expect(
    (await insitu(...args, '--dry-run', '--registry', `${registry.address}=http://${registry.address}`).ended).exitCode,
  ).toBe(0)
})
