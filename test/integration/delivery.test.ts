import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { BuiltImage } from '../../src/api/images.ts'
import { clusterGateway } from '../../src/api/config.ts'
import type { AgentCalls } from '../../src/gateway/delivery/agent-calls.ts'
import { createImageWork } from '../../src/gateway/delivery/image-work.ts'
import { createInProgress } from '../../src/gateway/images/in-progress.ts'
import { createImageIndex } from '../../src/gateway/images/index.ts'
import { createLookups } from '../../src/gateway/images/lookup.ts'
import type { Placement, Placer } from '../../src/gateway/placement/placer.ts'
import { createLogger } from '../../src/kernel/log.ts'
import { type Buildkitd, startBuildkitd } from './fixtures/buildkitd.ts'
import { buildctl, type Client, startClient } from './fixtures/clients.ts'
import { createWorkspace, type Workspace } from './fixtures/context.ts'
import { startGateway, type TestGateway } from './fixtures/gateway.ts'
import { until } from './fixtures/until.ts'

// A real daemon, real clients and the real gateway; the agents that would carry images are played here.

let daemon: Buildkitd
let work: Workspace
let gateway: TestGateway
const index = createImageIndex()
const inProgress = createInProgress()
const peer = (node: string) => ({ node, host: node, port: 1 })
const lookups = createLookups({ index, inProgress, peer, load: () => 0 })
const never = new AbortController().signal

let calls: { built: BuiltImage[]; dropped: [string, BuiltImage][]; pulled: string[]; woken: string[] }
let pull: AgentCalls['pull']

beforeEach(() => {
  calls = { built: [], dropped: [], pulled: [], woken: [] }
  pull = (node, _image, _peers, onBytes) => {
    calls.pulled.push(node)
    onBytes(5, 10)
    return Promise.resolve(10)
  }
})

beforeAll(async () => {
  work = await createWorkspace()
  daemon = await startBuildkitd()
  const placement: Placement = { rule: 'waiting', node: 'n1', targets: ['n1', 'n2', 'n3'], reason: 'pods wait there' }
  const placer: Placer = { place: () => Promise.resolve(placement), built: () => Promise.resolve() }
  gateway = await startGateway({
    nodes: { n1: daemon },
    config: { statusVertex: true },
    placer,
    images: createImageWork({
      ...{ index, inProgress, config: clusterGateway.delivery },
      agents: {
        built: (_node, images) => {
          calls.built.push(...images)
          const guarded = images.filter(({ name }) => name.includes('/guarded'))
          return Promise.resolve({
            refused: guarded.map(({ name }) => ({ name, reason: 'it was there before insitu' })),
          })
        },
        drop: (node, images) =>
          Promise.resolve(void calls.dropped.push(...images.map((i) => [node, i] as [string, BuiltImage]))),
        retract: () => Promise.resolve(),
        pull: (...args) => pull(...args),
      },
      able: () => ['n1', 'n2', 'n3', 'n4'],
      wake: (node) => Promise.resolve(void calls.woken.push(node)),
      stuck: () => Promise.resolve(['pod default/late on node n3 tries again in 42 s']),
      metrics: { delivered: 0, failed: 0, bytes: 0, running: 0 },
      logger: createLogger({ level: 'silent' }),
    }),
  })
})

afterAll(async () => {
  await gateway?.close()
  await daemon?.stop()
  await work?.remove()
})

const build = async (names: string, ...args: string[]): Promise<Client> => {
  const context = await work.context('RUN true\n')
  return buildctl(gateway.address, context, [`--output=type=image,"name=${names}"`, ...args])
}

test('the client is told after the targets have the image, and its progress shows each of them', async () => {
  let release: () => void = () => undefined
  const held = new Promise<void>((resolve) => (release = resolve))
  const last = pull
  pull = async (...args) => {
    const bytes = await last(...args)
    if (args[0] === 'n3') await held
    return bytes
  }
  const client = await build('a/one:1,a/two:1')
  await until('n2 to have it', () => index.of('n2').some((i) => i.name === 'docker.io/a/two:1'))
  expect(inProgress.names).toBe(0)
  expect(client.output()).not.toContain('pods that start at their next try')
  release()
  const result = await client.ended
  expect(result, result.output).toMatchObject({ exitCode: 0 })
  expect(result.output).toContain('[insitu] deliver docker.io/a/one:1, docker.io/a/two:1 to node n2')
  expect(result.output).toContain('[insitu] deliver docker.io/a/one:1, docker.io/a/two:1 to node n3')
  expect(result.output).toMatch(/transferring/)
  expect(result.output).toContain('pod default/late on node n3 tries again in 42 s')
  expect(calls.built.map((i) => i.name)).toEqual(['docker.io/a/one:1', 'docker.io/a/two:1'])
  expect(calls.built[0]?.digest).toMatch(/^sha256:[0-9a-f]{64}$/)
  expect(calls.woken.toSorted()).toEqual(['n1', 'n2', 'n3'])
})

test('buildx sees it too, and says none, a number or all with build arguments', async () => {
  const env = { BUILDX_CONFIG: await work.directory() }
  await startClient('buildx', ['create', '--name=x', '--driver=remote', gateway.address], { env }).ended
  calls.pulled = []
  for (const [deliver, nodes] of [
    ['none', []],
    ['2', ['n2']],
    ['all', ['n2', 'n3', 'n4']],
  ] as const) {
    calls.pulled = []
    const context = await work.context('RUN true\n')
    const args = ['build', '--builder=x', '--progress=plain', `--build-arg=insitu.deliver=${deliver}`]
    const result = await startClient('buildx', [...args, '-t', 'a/x:1', '-o', 'type=image', context], { env }).ended
    expect(result, result.output).toMatchObject({ exitCode: 0 })
    expect(calls.pulled.toSorted()).toEqual(nodes)
    for (const node of nodes) expect(result.output).toContain(`[insitu] deliver docker.io/a/x:1 to node ${node}`)
  }
})

test('a node that does not get it is named; the build fails only if that is asked for', async () => {
  pull = (node) => (node === 'n3' ? Promise.reject(new Error('no space left on device')) : Promise.resolve(1))
  const lenient = await (await build('a/lenient:1')).ended
  expect(lenient, lenient.output).toMatchObject({ exitCode: 0 })
  expect(lenient.output).toContain('could not be delivered to n3 (no space left on device)')
  const strict = await (await build('a/strict:1', '--opt=insitu.deliver-required=true')).ended
  expect(strict, strict.output).toMatchObject({ exitCode: 1 })
  expect(strict.output).toContain('docker.io/a/strict:1 is on node n1 and could not be delivered to n3')
})

test('a name that its node has put back fails the build, and nobody is sent there for it', async () => {
  const result = await (await build('a/guarded:1')).ended
  expect(result, result.output).toMatchObject({ exitCode: 1 })
  expect(result.output).toContain('docker.io/a/guarded:1: it was there before insitu')
  expect(index.newest('docker.io/a/guarded:1')).toBeUndefined()
})

test('a build that fails for want of a base of another node says so', async () => {
  const name = '127.0.0.1:1/a/base:v1'
  index.add('n5', { name, digest: `sha256:${'b'.repeat(64)}`, version: 1 })
  const context = await work.context(`FROM ${name}\n`)
  const failed = await buildctl(gateway.address, context, ['--output=type=image,name=a/app:1']).ended
  expect(failed.exitCode).toBe(1)
  expect(failed.output).toContain(`[insitu] ${name} was built on node n5, and node n1 did not get it from there`)
})

test('a wrong wish refuses the build with a sentence', async () => {
  const result = await (await build('a/wrong:1', '--opt=insitu.deliver=some')).ended
  expect(result.exitCode).toBe(1)
  expect(result.output).toContain('use targets, all, none or a number of nodes')
})

test('a client that goes away ends its deliveries, and nothing is left in progress', async () => {
  let aborted = 0
  pull = (_node, _image, _peers, _onBytes, signal) =>
    new Promise((_, reject) => {
      signal.addEventListener('abort', () => {
        aborted += 1
        reject(signal.reason as Error)
      })
      calls.pulled.push('begun')
    })
  const client = await build('a/gone:1')
  await until('both deliveries to begin', () => calls.pulled.length === 2)
  client.kill('SIGKILL')
  await until('both to end', () => aborted === 2)
  await until('the build to be over', () => gateway.activity.total === 0 && inProgress.names === 0)
})

test('who looks for a name waits while it is built, and is answered when the build ends or fails', async () => {
  const name = 'docker.io/a/wait:1'
  const { promise: held, resolve: release } = Promise.withResolvers<void>()
  const last = pull
  pull = async (...args) => held.then(() => last(...args))
  const context = await work.context('COPY flag /flag\nRUN sleep 1\n', { flag: String(Math.random()) })
  const client = buildctl(gateway.address, context, ['--output=type=image,name=a/wait:1'])
  await until('it is being built', () => inProgress.of(name)?.node === 'n1')
  const found = await lookups.lookup({ name }, 'n9', 60_000, never)
  // The other targets do not have it yet.
  expect(found).toMatchObject({ state: 'here', peers: [{ node: 'n1' }] })
  release()
  expect((await client.ended).exitCode).toBe(0)
  const failing = await work.context('RUN sleep 1 && false\n')
  const bad = buildctl(gateway.address, failing, ['--output=type=image,name=a/bad:1'])
  await until('the other is being built', () => inProgress.of('docker.io/a/bad:1'))
  const answer = await lookups.lookup({ name: 'docker.io/a/bad:1' }, 'n9', 60_000, never)
  expect(answer).toMatchObject({ state: 'failed' })
  expect((await bad.ended).exitCode).toBe(1)
})

test('20 builds of one tag at once: each has a version of its own, one is the newest everywhere, the rest is dropped', async () => {
  const name = 'docker.io/a/many:1'
  const last = pull
  pull = async (...args) => {
    await new Promise((resolve) => setTimeout(resolve, 200))
    return last(...args)
  }
  index.add('stale', { name, digest: `sha256:${'0'.repeat(64)}`, version: 1 })
  const clients = await Promise.all(
    Array.from({ length: 20 }, async (_, i) => {
      const context = await work.context('ARG SALT\nENV SALT=$SALT\n')
      return buildctl(gateway.address, context, ['--output=type=image,name=a/many:1', `--opt=build-arg:SALT=${i}`])
        .ended
    }),
  )
  expect(clients.map((c) => c.exitCode)).toEqual(Array(20).fill(0))
  const versions = calls.built.map((i) => i.version)
  expect(new Set(versions).size).toBe(20)
  const newest = index.newest(name) as BuiltImage
  expect(newest.version).toBe(Math.max(...versions))
  for (const node of ['n1', 'n2', 'n3']) expect(index.of(node)).toContainEqual(newest)
  expect(index.stale(name)).toEqual([])
  expect(calls.dropped.map(([node]) => node)).toContain('stale')
  expect(clients.some((c) => c.output.includes('has taken the name'))).toBe(true)
})
