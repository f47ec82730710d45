import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Build, buildResources } from '../../../src/api/builds/builds.ts'
import {
  demandsOf,
  pullAnnotation,
  pulledByLabel,
  pullPrefix,
  refusedAnnotation,
  unservedAnnotation,
} from '../../../src/api/builds/on-pull.ts'
import type { BuiltImage, Lookup } from '../../../src/api/images.ts'
import { namespace as ours, serviceAccounts } from '../../../src/api/names.ts'
import { type PolicyParts, policyParts } from '../../../src/cli/gateway-policy.ts'
import { readImages } from '../../../src/cli/rebuild/images.ts'
import { successorOf } from '../../../src/cli/rebuild/successor.ts'
import type { Controller } from '../../../src/controller/controller.ts'
import { createKubernetesDirectory, type KubernetesDirectory } from '../../../src/gateway/directory/kubernetes.ts'
import { createInProgress } from '../../../src/gateway/images/in-progress.ts'
import { createImageIndex } from '../../../src/gateway/images/index.ts'
import { createLookups, type Lookups } from '../../../src/gateway/images/lookup.ts'
import { askingNode } from '../../../src/gateway/on-pull/asking.ts'
import { followOrders, type Orders } from '../../../src/gateway/on-pull/orders.ts'
import { createPulls, type Pulls } from '../../../src/gateway/on-pull/pulls.ts'
import { unmirroredPulls, unservedBecause } from '../../../src/gateway/on-pull/unmirrored.ts'
import { type LiveView, watchCluster } from '../../../src/gateway/placement/view.ts'
import type { KubernetesClient } from '../../../src/kernel/k8s/client.ts'
import type { KubernetesObject } from '../../../src/kernel/k8s/objects.ts'
import { resources } from '../../../src/kernel/k8s/resources.ts'
import { createLogger } from '../../../src/kernel/log.ts'
import { createMetrics } from '../../../src/kernel/metrics.ts'
import { createWorkspace, type Workspace } from '../fixtures/context.ts'
import { createJobs, type JobObject } from '../fixtures/jobs.ts'
import { until } from '../fixtures/until.ts'
import { type Builds, startBuilds } from './builds.ts'

const namespace = 'default'
const signal = new AbortController().signal
let builds: Builds
let admin: KubernetesClient
let jobs: ReturnType<typeof createJobs>
let controller: Controller
let gatewayClient: KubernetesClient
let one: Gateway
let two: Gateway
let policy: PolicyParts
let space: Workspace
let directory: KubernetesDirectory
let view: LiveView
/** Milliseconds that everybody's clock is ahead. */
let ahead = 0
const now = (): number => Date.now() + ahead

/** What a gateway has to do with pulls, with the rights of a gateway. */
interface Gateway {
  readonly orders: Orders
  readonly pulls: Pulls
  readonly lookups: Lookups
  readonly index: ReturnType<typeof createImageIndex>
}

/** A node with a rootless agent. */
const bare = 'bare-1'
const platforms: Readonly<Record<string, string>> = { arm: 'linux/arm64' }

function startGateway(client: KubernetesClient): Gateway {
  const logger = createLogger({ level: 'silent' })
  const index = createImageIndex()
  const orders = followOrders({ client, logger })
  const pulls = createPulls({
    ...{ client, orders, index, logger, now, metrics: createMetrics(), interval: 200, unsure: () => !orders.synced },
    asking(node, of) {
      const refusal = (at: string) => policy.refusesNode(of.namespace, of.serviceAccount, at)
      if (node === bare)
        return askingNode(node, of.pushes, { agents: () => directory.agents, view: () => view, refusal })
      const cannotBuild = node === 'cordoned' ? 'is cordoned' : refusal(node)
      return { node, platform: platforms[node] ?? 'linux/amd64', cannotBuild }
    },
    lost: (node) => view.nodes.get(node)?.ready === false,
    unmirrored: () => unmirroredPulls(view, directory.agents),
    refusal: (...of) => policy.refusesName(...of),
  })
  const lookups = createLookups({
    ...{ index, pulls, inProgress: createInProgress(), load: () => 0 },
    peer: (node) => ({ node, host: node, port: 1 }),
  })
  return { orders, pulls, lookups, index }
}

const policyText = `
[[tenant]]
name = "tenants"
match = { namespaces = ["tenant"] }
names = ["h.test/{namespace}/"]
nodes = ["node-2"]

[[tenant]]
name = "all others"
match = { anybody = true }
names = ["*"]
`

beforeAll(async () => {
  space = await createWorkspace()
  const file = join(await space.directory(), 'policy.toml')
  await writeFile(file, policyText)
  const logger = createLogger({ level: 'silent' })
  policy = await policyParts({ file, directory: { nodes: () => [], node: () => undefined }, logger })
  builds = await startBuilds()
  admin = builds.admin
  jobs = createJobs(admin, namespace)
  await builds.namespace('tenant')
  const gateway = await builds.installed.pod('gateway-1', serviceAccounts.gateway, 'node-1')
  gatewayClient = await gateway.client()
  // The one that builds is there without a status.
  await builds.cluster.node('node-1')
  await builds.cluster.node(bare)
  await builds.cluster.agent(bare, { mode: 'rootless' })
  const seen = { client: gatewayClient, logger }
  const tls = { current: () => ({ cert: '', key: '', ca: '' }), onChange: () => () => {} }
  directory = createKubernetesDirectory({ ...seen, namespace: ours, tls })
  view = watchCluster({ ...seen, agents: () => directory.agents })
  await Promise.all([directory.whenSynced(), view.whenSynced()])
  one = startGateway(gatewayClient)
  two = startGateway(gatewayClient)
  controller = await builds.controller({ now: () => new Date(now()) })
})
afterAll(async () => {
  for (const gateway of [one, two]) {
    gateway?.pulls.close()
    await gateway?.orders.stop()
  }
  await controller?.stop()
  await view?.stop()
  await directory?.stop()
  gatewayClient?.close()
  policy?.close()
  await space?.remove()
  await builds?.stop()
})

const wait = (name: string, spec: object = {}, of = namespace) =>
  builds.make(
    name,
    { trigger: 'OnPull', source: { dockerfile: 'FROM scratch' }, output: { names: [`h.test/${name}:1`] }, ...spec },
    of,
  )
const claimed = (name: string, of = namespace) =>
  until(`the gateways to know ${name}`, () => {
    const known = ({ orders }: Gateway) =>
      [...orders.all()].some((order) => order.name === name && order.namespace === of)
    return known(one) && known(two) ? true : undefined
  })
const condition = (build: Build | undefined, type: string) => build?.status?.conditions?.find((c) => c.type === type)

/** As an agent does it: asks until the answer is one. */
async function pull(gateway: Gateway, image: string, node = 'node-1'): Promise<Lookup> {
  for (let tries = 0; tries < 100; tries += 1) {
    const answer = await gateway.lookups.lookup({ name: image }, node, 1000, signal, { demand: true })
    if (answer.state !== 'onPull' && answer.state !== 'building') return answer
  }
  throw new Error(`${image} was neither built nor refused`)
}
const begun = async (name: string, of = namespace): Promise<readonly Build[]> => {
  const { metadata } = await builds.get(name, of)
  const all = await admin.list<Build>(buildResources.builds, { namespace: of })
  return all.filter((build) => build.metadata?.labels?.[pulledByLabel] === metadata?.uid)
}
const jobOf = (name: string): Promise<JobObject> =>
  until(`a Job for a pull of ${name}`, async () => {
    const own = await begun(name)
    const all = await jobs.list()
    return all.find((job) =>
      own.some(
        (build) =>
          build.status?.completionTime === undefined && job.metadata?.ownerReferences?.[0]?.uid === build.metadata?.uid,
      ),
    )
  })
const built = (name: string, digit: string, version = 1): BuiltImage => ({
  ...{ name, digest: `sha256:${digit.repeat(64)}`, version },
})

describe('a pull of a name that a Build waits for', () => {
  test('has it built once, whichever gateways and nodes ask, and goes on when it is there', async () => {
    const image = 'h.test/once:1'
    await wait('once')
    await claimed('once')
    expect(await one.lookups.lookup({ name: image }, 'node-1', 0, signal)).toEqual({ state: 'onPull' })
    expect(await begun('once')).toEqual([])
    const pulls = [pull(one, image), pull(two, image, 'node-2'), pull(one, image, 'node-3'), pull(two, image)]
    const job = await jobOf('once')
    const [own] = await begun('once')
    expect(own?.spec).toMatchObject({ platforms: ['linux/amd64'], output: { names: [image] } })
    expect(['node-1', 'node-2', 'node-3']).toContain(own?.spec.node)
    await jobs.end(job, { result: 'succeeded', digest: built(image, 'a').digest, node: 'node-1', names: [image] })
    for (const { index } of [one, two]) index.add('node-1', built(image, 'a'))
    for (const answer of await Promise.all(pulls))
      expect(answer).toMatchObject({ state: 'here', image: built(image, 'a') })
    const { status } = await builds.seen('once', 'has ended', (b) => b.status?.phase === 'Succeeded')
    expect(status).toMatchObject({
      node: 'node-1',
      digest: built(image, 'a').digest,
      pulls: { last: own?.metadata?.name },
    })
    expect(status?.startTime).toBeUndefined()
    expect(await begun('once')).toHaveLength(1)
    const left = demandsOf((await builds.get('once')).metadata?.annotations)
    expect(left.size).toBe(0)

    // While it is there nothing is built, whoever asks; once it is gone from all nodes, it is.
    expect(await pull(two, image, 'node-9')).toMatchObject({ state: 'here' })
    expect(await begun('once')).toHaveLength(1)
    for (const { index } of [one, two]) index.forget('node-1')
    ahead += 40_000
    const again = pull(two, image, 'cordoned')
    const second = await jobOf('once')
    const made = (await begun('once')).find(({ status: s }) => s?.completionTime === undefined)
    expect(made?.spec.node).toBeUndefined()
    await jobs.end(second, { result: 'succeeded', digest: built(image, 'b').digest, node: 'node-2' })
    for (const { index } of [one, two]) index.add('node-2', built(image, 'b', 2))
    expect(await again).toMatchObject({ state: 'here', image: { version: 2 } })

    // What only a lost node has is as good as gone.
    for (const { index } of [one, two]) {
      index.add('lost-1', built(image, 'b', 2))
      index.forget('node-2')
    }
    expect(await one.lookups.lookup({ name: image }, 'node-9', 0, signal)).toMatchObject({ state: 'here' })
    await builds.cluster.node('lost-1', { ready: false })
    await until('the gateways to know that the node is lost', async () => {
      const answers = [one, two].map(({ lookups }) => lookups.lookup({ name: image }, 'node-9', 0, signal))
      return (await Promise.all(answers)).every(({ state }) => state === 'onPull') || undefined
    })
  })

  test('fails with the reason of the build, again and again for half a minute, and then it is tried once more', async () => {
    const image = 'h.test/broken:1'
    await wait('broken')
    await claimed('broken')
    const held = pull(one, image)
    await jobs.end(await jobOf('broken'), { result: 'failed', message: '#7 RUN false\nerror: exit code: 3' })
    expect(await held).toEqual({ state: 'failed', reason: expect.stringContaining('exit code: 3') as string })
    await builds.seen('broken', 'has failed', (b) => b.status?.phase === 'Failed')
    for (let i = 0; i < 5; i += 1) expect(await pull(i % 2 ? one : two, image)).toMatchObject({ state: 'failed' })
    expect(await begun('broken')).toHaveLength(1)
    const events = await until('its event', async () => {
      type Event = KubernetesObject & { reason: string; message: string; involvedObject: { name: string } }
      const all = await admin.list<Event>(resources.events, { namespace })
      const own = all.filter((e) => e.involvedObject.name === 'broken')
      return own.some(({ reason }) => reason === 'BuildFailed') ? own : undefined
    })
    expect(events.find(({ reason }) => reason === 'BuildFailed')?.message).toContain('exit code: 3')
    expect(events.find(({ reason }) => reason === 'Pulled')?.message).toContain(image)

    ahead += 31_000
    const later = pull(two, image)
    await jobs.end(await jobOf('broken'), { result: 'failed', message: 'error: exit code: 4' })
    expect(await later).toMatchObject({ reason: expect.stringContaining('exit code: 4') as string })
    expect(await begun('broken')).toHaveLength(2)
    // Whoever mends it does not wait.
    await admin.patch(buildResources.builds, { namespace, name: 'broken' }, { spec: { target: 'other' } })
    await until('the gateways to know', async () => {
      const { metadata } = await builds.get('broken')
      return (
        [...two.orders.all()].some((o) => o.name === 'broken' && o.generation === metadata?.generation) || undefined
      )
    })
    const mended = pull(two, image)
    await jobs.end(await jobOf('broken'), { result: 'succeeded', digest: built(image, 'c').digest })
    two.index.add('node-1', built(image, 'c'))
    expect(await mended).toMatchObject({ state: 'here' })
  })

  test('has it built for another platform too, for both of them, when a node needs it', async () => {
    const image = 'h.test/multi:1'
    await wait('multi')
    await claimed('multi')
    const first = pull(one, image)
    await jobs.end(await jobOf('multi'), { result: 'succeeded', digest: built(image, 'd').digest })
    for (const { index } of [one, two]) index.add('node-1', built(image, 'd'))
    expect(await first).toMatchObject({ state: 'here' })
    await builds.seen('multi', 'has ended', (b) => b.status?.phase === 'Succeeded')
    await until('the gateway to know', async () => {
      const answer = await one.lookups.lookup({ name: image }, 'arm', 0, signal)
      return answer.state === 'onPull' ? true : undefined
    })
    expect(await one.lookups.lookup({ name: image }, 'node-2', 0, signal)).toMatchObject({ state: 'here' })
    const other = pull(one, image, 'arm')
    const job = await jobOf('multi')
    const made = (await begun('multi')).find(({ status }) => status?.completionTime === undefined)
    expect(made?.spec).toMatchObject({ platforms: ['linux/amd64', 'linux/arm64'] })
    expect(made?.spec.node).toBeUndefined()
    await jobs.end(job, { result: 'succeeded', digest: built(image, 'e').digest })
    one.index.add('arm', built(image, 'e', 2))
    expect(await other).toMatchObject({ state: 'here', image: { version: 2 } })
  })

  test('knows the rebuild of what it began, which is of no pull and takes nothing away when it fails', async () => {
    const image = 'h.test/again:1'
    await wait('again', { output: { names: [image], push: true } })
    await claimed('again')
    const first = pull(one, image)
    await jobs.end(await jobOf('again'), { result: 'succeeded', digest: built(image, '1').digest })
    one.index.add('node-1', built(image, '1'))
    expect(await first).toMatchObject({ state: 'here' })
    await builds.seen('again', 'has ended', (b) => b.status?.phase === 'Succeeded')
    const [own] = await begun('again')

    const rebuild = async (digit: string, end: Parameters<typeof jobs.end>[1]): Promise<Build> => {
      const all = readImages(await admin.list<Build>(buildResources.builds, { namespace }), new Map())
      const of = all.find(({ names }) => names.includes(image))
      if (of === undefined) throw new Error('no Build stands for the image')
      const pins = [{ name: 'h.test/os:1', digest: built('', digit).digest }]
      const next = successorOf(of, { pins, released: [], attempt: 1 })
      const { metadata } = await admin.create<Build>(buildResources.builds, { namespace }, next)
      const job = await until('its Job', async () =>
        (await jobs.list()).find((one) => one.metadata?.ownerReferences?.[0]?.uid === metadata?.uid),
      )
      await jobs.end(job, end)
      const name = metadata?.name ?? ''
      return builds.seen(name, 'has ended', (b) => b.status?.completionTime !== undefined)
    }
    const { spec, metadata } = await rebuild('8', { result: 'succeeded', digest: built(image, '2').digest })
    expect(spec).not.toHaveProperty('node')
    expect(metadata?.ownerReferences).toMatchObject([{ kind: 'Build', uid: own?.metadata?.uid }])
    one.index.add('node-2', built(image, '2', 2))
    const asks = (node: string): Promise<Lookup> => one.lookups.lookup({ name: image }, node, 0, signal)
    await until('the gateway to know', async () => (await asks('arm')).state === 'onPull' || undefined)
    expect(await asks('node-3')).toMatchObject({ state: 'here', image: { version: 2 } })

    await rebuild('9', { result: 'failed', message: 'error: exit code: 3' })
    for (const node of ['node-1', 'node-2']) one.index.forget(node)
    expect(await asks('node-3')).toEqual({ state: 'none' })
    expect(await begun('again')).toHaveLength(1)
    expect((await builds.get('again')).status).toMatchObject({
      phase: 'Succeeded',
      pulls: { last: own?.metadata?.name },
    })
  })

  test('says which commit is built by its tag, and nothing but a commit', async () => {
    const commit = 'a1'.repeat(20)
    await wait('app', {
      source: { git: { url: 'https://git.example.com/app.git' } },
      output: { names: ['h.test/app:git-${REVISION}'] },
    })
    await claimed('app')
    for (const tag of ['git-main', 'git-a..b']) {
      const answer = await one.lookups.lookup({ name: `h.test/app:${tag}` }, 'node-1', 0, signal)
      expect(answer).toMatchObject({ state: 'failed', reason: expect.stringContaining('is no commit') as string })
    }
    expect(await one.lookups.lookup({ name: 'h.test/app:v1' }, 'node-1', 0, signal)).toEqual({ state: 'none' })
    const held = pull(one, `h.test/app:git-${commit}`)
    const job = await jobOf('app')
    const [own] = await begun('app')
    expect(own?.spec).toMatchObject({
      source: { git: { revision: commit } },
      output: { names: [`h.test/app:git-${commit}`] },
    })
    await jobs.end(job, { result: 'failed', message: 'error: no such commit' })
    expect(await held).toMatchObject({ reason: expect.stringContaining('no such commit') as string })
  })
})

describe('names', () => {
  test('that the policy refuses are not built, say so, and belong to who may have them', async () => {
    const image = 'h.test/team/app:1'
    await wait('squatter', { output: { names: [image] } }, 'tenant')
    const squatter = await builds.seen(
      'squatter',
      'is refused',
      (b) => condition(b, 'Accepted')?.reason === 'NotAllowed',
      'tenant',
    )
    expect(condition(squatter, 'Accepted')?.message).toContain(
      `the name ${image} is not allowed (rule: tenant "tenants": names)`,
    )
    expect(await one.lookups.lookup({ name: image }, 'node-1', 1000, signal, { demand: true })).toEqual({
      state: 'none',
    })
    await wait('owner', { output: { names: [image] } })
    await builds.seen('owner', 'has its name', (b) => condition(b, 'Accepted')?.status === 'True')
    await claimed('owner')
    const held = pull(one, image)
    await jobs.end(await jobOf('owner'), { result: 'failed', message: 'of the owner' })
    expect(await held).toMatchObject({ reason: expect.stringContaining('of the owner') as string })
    expect(await begun('squatter', 'tenant')).toEqual([])
  })

  test('of a namespace are its own, and what is built for them is built where its policy lets it', async () => {
    const image = 'h.test/tenant/app:1'
    await wait('rightful', { output: { names: [image] } }, 'tenant')
    await claimed('rightful', 'tenant')
    const stopped = new AbortController()
    const held = one.lookups.lookup({ name: image }, 'node-1', 60_000, stopped.signal, { demand: true })
    const own = await until('its Build', async () => (await begun('rightful', 'tenant'))[0])
    stopped.abort(new Error('seen'))
    await held
    expect(own.spec).not.toHaveProperty('node')
    const why = 'node node-1 is not allowed (rule: tenant "tenants": nodes)'
    expect(own.metadata?.annotations?.[pullAnnotation]).toContain(JSON.stringify(why).slice(1, -1))
  })

  test('that an older Build has are its own, and the other says so', async () => {
    await wait('elder', { output: { names: ['h.test/shared:1'] } })
    await builds.seen('elder', 'has its name', (b) => condition(b, 'Accepted')?.status === 'True')
    ahead += 2000
    await wait('younger', { output: { names: ['h.test/shared:1'] } })
    const younger = await builds.seen('younger', 'has not', (b) => condition(b, 'Accepted')?.status === 'False')
    const [older, other] = [await builds.get('elder'), younger].toSorted((a, b) =>
      `${a.metadata?.creationTimestamp} ${a.metadata?.name}` < `${b.metadata?.creationTimestamp} ${b.metadata?.name}`
        ? -1
        : 1,
    )
    expect(condition(other, 'Accepted')).toMatchObject({ reason: 'NameTaken' })
    expect(condition(other, 'Accepted')?.message).toContain(`default/${older?.metadata?.name}`)
  })
})

describe('a node that has no mirror', () => {
  test('gets what is pushed: the pod whose pull failed has it built', async () => {
    const image = 'h.test/bare:1'
    await wait('bare', { output: { names: [image], push: true } })
    await claimed('bare')
    await builds.cluster.pod('bare', { image, node: bare, waiting: 'ErrImagePull' })
    const job = await jobOf('bare')
    const [own] = await begun('bare')
    expect(own?.spec).toMatchObject({ node: bare, output: { names: [image], push: true } })
    await jobs.end(job, { result: 'succeeded', digest: built(image, 'f').digest, names: [image] })
    await builds.seen('bare', 'has ended', (b) => b.status?.phase === 'Succeeded')
    // The kubelet goes on by its back-off, and finds it in the registry.
    ahead += 60_000
    await wait('bare-later')
    await builds.seen('bare-later', 'is looked at', (b) => b.status?.pulls !== undefined)
    await builds.cluster.pod('bare', { image, node: bare, waiting: 'ImagePullBackOff' })
    expect(await begun('bare')).toHaveLength(1)
    await builds.cluster.pod('bare', { image, node: bare })
  })

  test('gets nothing that stays on other nodes: the Build says so while it is wanted', async () => {
    const pull = { name: 'h.test/stays:1', node: bare }
    await wait('stays')
    await claimed('stays')
    await builds.cluster.pod('stays', { image: pull.name, node: bare, waiting: 'ImagePullBackOff' })
    const told = await builds.seen('stays', 'says so', (b) => condition(b, 'Accepted')?.reason === 'NotServed')
    expect(condition(told, 'Accepted')).toMatchObject({ status: 'True', message: unservedBecause(pull) })
    expect(await begun('stays')).toEqual([])
    await admin.delete(resources.pods, { namespace, name: 'stays' }, { gracePeriodSeconds: 0 })
    await builds.seen('stays', 'says nothing', (b) => condition(b, 'Accepted')?.reason === 'NamesClaimed')
  })
})

describe('a gateway on a Build', () => {
  const patch = (body: object) => gatewayClient.patch<Build>(buildResources.builds, { namespace, name: 'once' }, body)
  const annotate = (key: string, value: string | null) => ({ metadata: { annotations: { [key]: value } } })

  test('writes that it was pulled and that it is refused, and takes it away', async () => {
    for (const key of [`${pullPrefix}0123`, refusedAnnotation, unservedAnnotation]) {
      // Whoever it is for may take it away again at once: the answer says what was written.
      expect((await patch(annotate(key, 'x'))).metadata?.annotations).toHaveProperty([key])
      expect((await patch(annotate(key, null))).metadata?.annotations ?? {}).not.toHaveProperty([key])
    }
  })

  test.each([
    ['another annotation', annotate('other', 'x')],
    ['a label', { metadata: { labels: { [pulledByLabel]: 'x' } } }],
    ['an owner', { metadata: { ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: 'a', uid: 'b' }] } }],
    ['what is built', { spec: { serviceAccountName: 'other' } }],
    ['its own and the spec', { ...annotate(`${pullPrefix}0`, 'x'), spec: { cancelled: true } }],
  ])('is refused %s', async (_, body) => {
    await expect(patch(body)).rejects.toThrow(/may only change the annotation|must be allowed to create jobs/)
  })

  test('makes none, and writes no status', async () => {
    const may = (verb: string, subresource?: string) =>
      gatewayClient.allowed({
        verb,
        resource: buildResources.builds,
        namespace,
        ...(subresource ? { subresource } : {}),
      })
    expect(await may('create')).toBe(false)
    expect(await may('delete')).toBe(false)
    expect(await may('update', 'status')).toBe(false)
  })
})

test('the API server refuses what makes no sense', async () => {
  const git = { git: { url: 'https://h/a.git' } }
  const open = { names: ['h/a:${REVISION}'] }
  for (const [spec, why] of [
    [{ trigger: 'Now', source: git, output: open }, 'only a Build with trigger OnPull'],
    [{ trigger: 'Now', source: git, onPull: { keep: 3 } }, 'onPull is for trigger OnPull'],
    [{ trigger: 'OnPull', source: git, output: { names: [...open.names, 'h/a:1'] } }, 'either all names'],
    [{ trigger: 'OnPull', source: { dockerfile: 'FROM a' }, output: open }, 'is a revision of source.git'],
    [{ trigger: 'OnPull', source: { git: { ...git.git, revision: 'main' } }, output: open }, 'holds ${REVISION} where'],
    [{ trigger: 'OnPull', source: git, output: { names: ['h/${REVISION}/a:1'] } }, 'should match'],
    [{ trigger: 'OnPull', source: git, output: { names: ['h/a:${OTHER}'] } }, 'should match'],
    [{ trigger: 'OnPull', source: git, output: open, onPull: { atOnce: 0 } }, 'greater than or equal to 1'],
  ] as const) {
    await expect(builds.make('nonsense', spec), why).rejects.toThrow(why)
  }
  const change = { spec: { trigger: 'Now' } }
  await expect(admin.patch(buildResources.builds, { namespace, name: 'once' }, change)).rejects.toThrow('cannot change')
})

test.each(['before', 'after'] as const)(
  'a controller that dies %s it makes the Build of a pull leaves one',
  async (moment) => {
    const name = `orphan-${moment}`
    await wait(name)
    await claimed(name)
    await controller.stop()
    const client = await builds.client()
    const death = Promise.withResolvers<void>()
    let died = false
    const mortal = <A extends readonly unknown[], R>(call: (...args: A) => Promise<R>) => {
      return async (...args: A): Promise<R> => {
        if (died) throw new Error('this controller is dead')
        return call(...args)
      }
    }
    const others = mortal(client.create.bind(client)) as KubernetesClient['create']
    const create: KubernetesClient['create'] = async (resource, ref, body, options) => {
      if (died || resource.plural !== 'builds') return others(resource, ref, body, options)
      died = true
      if (moment === 'after') await client.create(resource, ref, body, options)
      death.resolve()
      throw new Error('it died')
    }
    const patch = mortal(client.patch.bind(client)) as KubernetesClient['patch']
    const first = await builds.controller({
      client: { ...client, create, patch, replace: mortal(client.replace.bind(client)) },
      identity: moment,
      now: () => new Date(now()),
    })
    const held = pull(one, `h.test/${name}:1`)
    await death.promise
    await first.stop()
    controller = await builds.controller({ identity: `after-${moment}`, now: () => new Date(now()) })
    await jobs.end(await jobOf(name), { result: 'failed', message: 'the only one' })
    expect(await held).toMatchObject({ reason: expect.stringContaining('the only one') as string })
    expect(await begun(name)).toHaveLength(1)
  },
)
