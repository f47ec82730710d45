import { randomUUID } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { basesHosts, withBases } from '../../src/agent/mirror/bases/registries.ts'
import { type Mirror, startMirror } from '../../src/agent/mirror/mirror.ts'
import { createInProgress } from '../../src/gateway/images/in-progress.ts'
import { createImageIndex } from '../../src/gateway/images/index.ts'
import { createLookups } from '../../src/gateway/images/lookup.ts'
import { createAuthority } from '../../src/kernel/tls/ca.ts'
import { startAgent, type TestAgent } from './fixtures/agent.ts'
import { type Buildkitd, startBuildkitd } from './fixtures/buildkitd.ts'
import { buildctl } from './fixtures/clients.ts'
import { startNode, type TestNode } from './fixtures/containerd.ts'
import { createWorkspace, type Workspace } from './fixtures/context.ts'
import { startGateway, type TestGateway } from './fixtures/gateway.ts'
import { agentTls, silent, startPeer, type TestPeer, testGateways, testRecords } from './fixtures/mirror-peers.ts'
import { type Registry, registryUser, startRegistry } from './fixtures/registry.ts'

// Node A has a containerd, and its agent builds into it. Node B has a daemon, the mirror of an agent, and nothing else.

let a: TestNode
let agent: TestAgent
let peer: TestPeer
let b: Buildkitd
let mirror: Mirror
let gateway: TestGateway
let registry: Registry
let closed: Registry
let login: { readonly env: Readonly<Record<string, string>> }
let work: Workspace
let version = 0
const host = 'registry.example.test'
const index = createImageIndex()
const inProgress = createInProgress()
const gateways = testGateways()

beforeAll(async () => {
  ;[work, a, registry, closed] = await Promise.all([
    createWorkspace(),
    startNode(),
    startRegistry(),
    startRegistry({ user: registryUser }),
  ])
  const docker = await work.directory()
  const auth = Buffer.from(`${registryUser.name}:${registryUser.password}`).toString('base64')
  await writeFile(join(docker, 'config.json'), JSON.stringify({ auths: { [closed.address]: { auth } } }))
  login = { env: { DOCKER_CONFIG: docker } }
  const pod = await a.pod()
  agent = startAgent(a, pod)
  await agent.ready()
  const authority = await createAuthority()
  peer = await startPeer({ authority, node: 'a', root: join(a.directory, 'containerd') })
  const addresses = new Map([['a', peer.peer]])
  const lookups = createLookups({ index, inProgress, peer: (node) => addresses.get(node), load: () => 0 })
  const never = new AbortController().signal
  gateways.answer('one', (query) => {
    const finished = query.get('finished') === '1'
    const [name, repository, digest] = ['name', 'repository', 'digest'].map((key) => query.get(key) ?? '')
    return lookups.lookup(name ? { name, finished } : { repository: repository!, digest: digest! }, 'b', 0, never)
  })
  let daemon: number | undefined
  mirror = await startMirror({
    ...{ containerdRoot: await work.directory(), containerd: () => Promise.reject(new Error('there is none')) },
    ...{ records: testRecords(), gateways, tls: agentTls(authority, 'b'), host: '127.0.0.1', port: 0, log: silent },
    daemon: () => daemon,
  })
  const hosts = basesHosts([host, registry.address, closed.address, '127.0.0.1:1'], [])
  const own = `[registry."${registry.address}"]\nhttp = true\n`
  b = await startBuildkitd({ config: withBases(own, hosts, `127.0.0.1:${mirror.bases?.port}`).toml })
  daemon = await b.pid()
  gateway = await startGateway({ nodes: { b }, config: { defaults: true }, patience: 60_000 })
})

afterAll(async () => {
  await gateway?.close()
  await b?.stop()
  await mirror?.close()
  await peer?.close()
  await agent?.stop()
  await Promise.all([a?.stop(), registry?.stop(), closed?.stop()])
  await work?.remove()
})

/** Builds an image on A that stays there: a file says what it is. */
async function buildOnA(name: string, text: string): Promise<string> {
  const context = await work.context(`LABEL id=${randomUUID()}\nRUN echo ${text} >/text\n`)
  const local = ['--local', `context=${context}`, '--local', `dockerfile=${context}`]
  const { code, stderr } = await agent.buildctl([
    ...['build', '--progress=plain', '--frontend=dockerfile.v0', ...local],
    ...['--output', `type=image,name=${name},unpack=true`, '--metadata-file', join(context, 'metadata.json')],
  ])
  expect(code, stderr).toBe(0)
  const metadata = JSON.parse(await readFile(join(context, 'metadata.json'), 'utf8')) as Record<string, string>
  const digest = metadata['containerimage.digest']!
  const image = { name, digest, version: (version += 1) }
  peer.records.set(...peer.records.list().filter((other) => other.name !== name), image)
  index.add('a', image)
  return digest
}

/** Builds on B, by way of the gateway with its defaults. @returns what RUN reads in the base. */
async function buildOnB(from: string, address = gateway.address): Promise<{ text?: string; output: string }> {
  const context = await work.context(`FROM ${from}\nRUN cat /text >/copy\nFROM scratch\nCOPY --from=1 /copy /copy\n`)
  const to = await work.directory()
  const { exitCode, output } = await buildctl(address, context, [`--output=type=local,dest=${to}`], login).ended
  return exitCode === 0 ? { text: (await readFile(join(to, 'copy'), 'utf8')).trim(), output } : { output }
}

/** Puts an image into the registry. */
async function push(name: string, text: string): Promise<void> {
  const context = await work.context(`RUN echo ${text} >/text\n`)
  const to = `--output=type=image,name=${name},push=true`
  const { exitCode, output } = await buildctl(b.address, context, [to], login).ended
  expect(exitCode, output).toBe(0)
}

test('FROM an image that stays on another node, by tag, by digest, and in COPY --from; the newest each time', async () => {
  const name = `${host}/team/base:v1`
  const digest = await buildOnA(name, 'first')
  const first = await buildOnB(name)
  expect(first.text, first.output).toBe('first')
  expect(peer.sent()).toBeGreaterThan(1 << 20)
  await buildOnA(name, 'second')
  for (const address of [gateway.address, b.address]) {
    const second = await buildOnB(name, address)
    expect(second.text, second.output).toBe('second')
  }
  const context = await work.context(`FROM scratch\nCOPY --from=${name} /text /text\n`)
  const to = await work.directory()
  const copied = await buildctl(gateway.address, context, [`--output=type=local,dest=${to}`]).ended
  expect(copied.exitCode, copied.output).toBe(0)
  expect(await readFile(join(to, 'text'), 'utf8')).toBe('second\n')
  await buildOnA(`${host}/team/pinned:v1`, 'pinned')
  const pinned = index.newest(`${host}/team/pinned:v1`)
  const byDigest = await buildOnB(`${host}/team/pinned@${pinned?.digest}`)
  expect(byDigest.text, byDigest.output).toBe('pinned')
  expect(pinned?.digest).not.toBe(digest)
})

test('FROM waits for no build: the one that is under way may be its own', async () => {
  const name = `${host}/team/self:v1`
  await buildOnA(name, 'before')
  const build = inProgress.begin([name])
  const { text, output } = await buildOnB(name)
  build.ended()
  expect(text, output).toBe('before')
})

test('an ordinary image comes from its registry; what is built in the cluster is before the registry’s', async () => {
  const name = `${registry.address}/team/ordinary:v1`
  await push(name, 'registry')
  const ordinary = await buildOnB(name)
  expect(ordinary.text, ordinary.output).toBe('registry')
  await buildOnA(name, 'cluster')
  const built = await buildOnB(name)
  expect(built.text, built.output).toBe('cluster')
})

test('a registry that wants a password gets it as before', async () => {
  const name = `${closed.address}/team/private:v1`
  await push(name, 'private')
  const { text, output } = await buildOnB(name)
  expect(text, output).toBe('private')
})

test('a name that nobody has is not found, as its registry says', async () => {
  const name = `${registry.address}/team/nowhere:v1`
  const { text, output } = await buildOnB(name)
  expect(text).toBeUndefined()
  expect(output).toContain(`${name}: not found`)
  // Where the registry has another reason, it is in the daemon's log.
  const refused = await buildOnB('127.0.0.1:1/team/nowhere:v1')
  expect(refused.output).toContain('nowhere:v1: not found')
  expect(b.log()).toContain('connect: connection refused')
})

test('nobody but the daemon is answered', async () => {
  const name = 'team/secret'
  const digest = await buildOnA(`${host}/${name}:v1`, 'secret')
  for (const path of ['manifests/v1', `manifests/${digest}`, `blobs/${digest}`]) {
    const answer = await fetch(`http://127.0.0.1:${mirror.bases?.port}/v2/${name}/${path}?ns=${host}`)
    expect([answer.status, await answer.text()]).toEqual([403, expect.not.stringContaining('layers')])
  }
})

test('registries are asked when nothing else answers: the node that has it, the gateways, the mirror', async () => {
  const name = `${registry.address}/team/falls-back:v1`
  await push(name, 'registry')
  const digest = `sha256:${'0'.repeat(64)}`
  index.add('a', { name, digest, version: (version += 1) })
  const nodeFails = await buildOnB(name)
  expect(nodeFails.text, nodeFails.output).toBe('registry')
  index.remove('a', name, version + 1)
  gateways.answer('one', undefined)
  const noGateway = await buildOnB(name)
  expect(noGateway.text, noGateway.output).toBe('registry')
  await mirror.bases?.close()
  const noMirror = await buildOnB(name)
  expect(noMirror.text, noMirror.output).toBe('registry')
})
