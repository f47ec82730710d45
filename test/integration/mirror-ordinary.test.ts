import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Front, startFront } from '../../src/agent/front/front.ts'
import { containerdCall } from '../../src/agent/host/containerd-call.ts'
import type { Preflight } from '../../src/agent/host/preflight.ts'
import { createImages } from '../../src/agent/images/images.ts'
import { putMirror } from '../../src/agent/mirror/certs.ts'
import { type Mirror, startMirror } from '../../src/agent/mirror/mirror.ts'
import { peerClient } from '../../src/agent/mirror/peers.ts'
import { type NodeRegistries, nodeRegistries } from '../../src/agent/mirror/ordinary/registries.ts'
import { defaultAgentConfig } from '../../src/api/agent-config.ts'
import { spiffe } from '../../src/api/certificate.ts'
import type { Peer } from '../../src/api/images.ts'
import type { Agent } from '../../src/gateway/directory/agent.ts'
import { askAgent } from '../../src/gateway/directory/agent-request.ts'
import { createInProgress } from '../../src/gateway/images/in-progress.ts'
import { createImageIndex } from '../../src/gateway/images/index.ts'
import { followInventories } from '../../src/gateway/images/inventory.ts'
import { createLookups } from '../../src/gateway/images/lookup.ts'
import { lookupHandler } from '../../src/gateway/images/lookup-handler.ts'
import { createOrdinaryImages } from '../../src/gateway/images/ordinary-images.ts'
import { fieldOf } from '../../src/kernel/grpc/wire.ts'
import { unary } from '../../src/kernel/grpc/unary.ts'
import { type Authority, createAuthority } from '../../src/kernel/tls/ca.ts'
import { startNode, type TestNode } from './fixtures/containerd.ts'
import { type CountedRegistry, startCountedRegistry } from './fixtures/counted-registry.ts'
import { startHttpProxy } from './fixtures/http-proxy.ts'
import { agentTls, gatewayTls, silent, testGateways, testRecords } from './fixtures/mirror-peers.ts'
import { type SketchedImage, sketchImage } from './fixtures/oci-image.ts'
import { until } from './fixtures/until.ts'

// `agent.mirror.serve = "all"`: two real containerds, real registries with and without authorization. What the registry
// gives away is counted: the second node's layers come from the first one, or from the registry where it has the say.

const exec = promisify(execFile)
const MiB = 1 << 20
const password = 'hunter2'
/** bcrypt of it. */
const user = { name: 'team', hash: '$2b$04$abcdefghijklmnopqrstuuV3duMsC0HpUex6N9qapiuOHHWkwRXVm' }

interface Side {
  readonly name: string
  readonly node: TestNode
  /** containerd's. */
  readonly socket: string
  readonly mirror: Mirror
  readonly front: Front
  readonly registries: NodeRegistries
  /** Asks the mirror as containerd would. */
  ask(path: string, method?: string): Promise<Response>
  /** What a kubelet does, with or without a pull secret. */
  pull(name: string, secret?: string): Promise<unknown>
  /** Digest of a name in containerd, or what it has instead. */
  has(name: string): Promise<string | undefined>
}

let authority: Authority
let tokens: Server
/** Whether the token server gives tokens to people that it does not know. */
let generous = true
let open: CountedRegistry
let withTokens: CountedRegistry
let locked: CountedRegistry
let first: Side
let second: Side
let next = 0

const namespace = 'buildkit-system'
/** docker-registry hides OCI's manifests from those who do not say that they know them. */
const accept = 'application/vnd.oci.image.manifest.v1+json, */*'
const known = createOrdinaryImages(() => 0)
const peers = new Map<string, Peer>()
const lookups = createLookups({
  ...{ index: createImageIndex(), ordinary: known, inProgress: createInProgress() },
  ...{ peer: (node: string) => peers.get(node), load: () => 0 },
})

async function startSide(name: string, net: number): Promise<Side> {
  const node = await startNode()
  const socket = `/proc/${node.pid}/root/run/containerd/containerd.sock`
  const [link, here] = [`io${net % 1000}${name}`, `10.97.${net % 250}.1`]
  await exec('ip', ['link', 'add', link, 'type', 'veth', 'peer', 'name', 'out', 'netns', String(node.pid)])
  await exec('ip', ['address', 'add', `${here}/24`, 'dev', link])
  await exec('ip', ['link', 'set', link, 'up'])
  await node.ok('ip', ['address', 'add', `10.97.${net % 250}.2/24`, 'dev', 'out'])
  await node.ok('ip', ['link', 'set', 'out', 'up'])
  const certs = join(node.directory, 'certs.d')
  for (const [registry, { port }] of Object.entries({
    'open.test': open,
    'token.test': withTokens,
    'locked.test': locked,
  })) {
    await mkdir(join(certs, registry), { recursive: true })
    await writeFile(join(certs, registry, 'hosts.toml'), `server = "http://${here}:${port}"\n`)
  }
  const gateways = testGateways()
  const handler = lookupHandler(lookups, namespace)
  gateways.answer('one', async (query) => {
    const { signal } = new AbortController()
    const answer = await handler({ agent: { namespace, node: name }, query, signal } as never)
    return JSON.parse(answer.body) as never
  })
  const registries = await nodeRegistries({ address: socket, pid: undefined, hostRoot: '/', log: silent })
  const tls = await agentTls(authority, name)
  const mirror = await startMirror({
    ...{ containerdRoot: join(node.directory, 'containerd'), containerd: containerdCall(socket, 'k8s.io'), registries },
    ...{ tls: Promise.resolve(tls), records: testRecords(), gateways, token: 'x', port: 0, host: here, log: silent },
  })
  const front = await startFront({
    ...{ host: '127.0.0.1', port: 0, tls, socket: '/nowhere', handlers: () => [mirror.handler], log: silent },
    ...{ client: spiffe(namespace, 'insitu-gateway'), peer: spiffe(namespace, 'insitu-agent') },
  })
  peers.set(name, { node: name, host: '127.0.0.1', port: front.port })
  const url = `http://${here}:${mirror.server.port}`
  await putMirror({ directories: [certs], hostRoot: '/' }, { url, token: 'x' })
  const digestOf = async (image: string): Promise<string | undefined> =>
    /sha256:[0-9a-f]{64}/.exec(await node.ctr(['images', 'ls', `name==${image}`]))?.[0]
  return {
    ...{ name, node, socket, mirror, front, registries, has: digestOf },
    ask: (path, method = 'GET') => fetch(`${url}${path}`, { method, headers: { 'x-insitu-mirror': 'x', accept } }),
    async pull(image, secret) {
      const auth = secret === undefined ? [] : [fieldOf(2, Buffer.concat([fieldOf(1, user.name), fieldOf(2, secret)]))]
      const request = Buffer.concat([fieldOf(1, fieldOf(1, image)), ...auth])
      await unary({ socket, method: '/runtime.v1.ImageService/PullImage', request, timeout: 90_000 })
      // What its agent tells the gateways a moment later.
      known.set(
        name,
        [...(await node.ctr(['images', 'ls'])).matchAll(/sha256:[0-9a-f]{64}/g)].map(([digest]) => digest),
      )
    },
  }
}

/** An image in a registry, of a layer that is no other's. */
async function publish(registry: CountedRegistry, tag = 'v1', secret?: string) {
  const repository = `team/app${next++}`
  const image = await republish(registry, repository, tag, secret)
  return { repository, image }
}
async function republish(registry: CountedRegistry, repository: string, tag: string, secret?: string) {
  const image: SketchedImage = await sketchImage(first.node.directory, 'any', { layers: [2 * MiB, 30_000] })
  const basic = secret === undefined ? undefined : `Basic ${Buffer.from(`${user.name}:${secret}`).toString('base64')}`
  await registry.push(repository, tag, image, registry === withTokens ? 'Bearer any' : basic)
  return image
}
/** Bytes of blobs that a registry gives away meanwhile. */
async function given(registry: CountedRegistry, work: () => Promise<unknown>): Promise<number> {
  const before = registry.blobBytes()
  await work()
  return registry.blobBytes() - before
}
const refused = (work: Promise<unknown>): Promise<string> => work.then(() => 'it worked', String)

beforeAll(async () => {
  authority = await createAuthority()
  tokens = createServer((_, response) => {
    response.writeHead(generous ? 200 : 401, { 'content-type': 'application/json' })
    response.end(JSON.stringify(generous ? { token: 'for-anybody' } : { errors: [] }))
  })
  tokens.listen(0, '0.0.0.0')
  await once(tokens, 'listening')
  const net = 2 * (process.pid % 120)
  const realm = `http://10.97.${net}.1:${(tokens.address() as AddressInfo).port}/token`
  ;[open, withTokens, locked] = await Promise.all([
    startCountedRegistry(),
    startCountedRegistry({ tokens: realm }),
    startCountedRegistry({ user }),
  ])
  first = await startSide('first', net)
  second = await startSide('second', net + 1)
  // Both nodes must reach the token server at the one address that the registry names.
  await second.node.ok('ip', ['route', 'add', 'default', 'via', `10.97.${(net + 1) % 250}.1`])
})
afterAll(async () => {
  for (const side of [first, second]) {
    await side?.mirror.close()
    side?.registries.close()
    await side?.front.close()
    await side?.node.stop()
  }
  tokens?.close()
  await Promise.all([open, withTokens, locked].map((registry) => registry?.stop()))
})

describe('an image that a registry gives to everybody', () => {
  it('comes from the node that has it, and a tag that moved is seen', async () => {
    const { repository, image } = await publish(open)
    const name = `open.test/${repository}:v1`
    expect(await given(open, () => first.pull(name))).toBeGreaterThan(2 * MiB)
    expect(await given(open, () => second.pull(name))).toBe(0)
    expect(await second.has(name)).toBe(image.digest)
    expect(second.mirror.received()).toBeGreaterThan(2 * MiB)

    const moved = await republish(open, repository, 'v1')
    // Nobody has it yet: the registry gives it.
    expect(await given(open, () => second.pull(name))).toBeGreaterThan(2 * MiB)
    expect(await second.has(name)).toBe(moved.digest)
    expect(await given(open, () => first.pull(name))).toBe(0)
    expect(await first.has(name)).toBe(moved.digest)
  })

  it('comes by its digest, too', async () => {
    const { repository, image } = await publish(open)
    await first.pull(`open.test/${repository}:v1`)
    expect(await given(open, () => second.pull(`open.test/${repository}@${image.digest}`))).toBe(0)
  })

  it('may need a token that everybody gets', async () => {
    const { repository, image } = await publish(withTokens)
    const name = `token.test/${repository}:v1`
    expect(await given(withTokens, () => first.pull(name))).toBeGreaterThan(2 * MiB)
    expect(await given(withTokens, () => second.pull(name))).toBe(0)
    expect(await second.has(name)).toBe(image.digest)
  })

  it('comes from the registry where the node that had it has lost it', async () => {
    const { repository, image } = await publish(open)
    const name = `open.test/${repository}:v1`
    await first.pull(name)
    await first.node.ctr(['images', 'rm', '--sync', name, `open.test/${repository}@${image.digest}`])
    for (const alias of (await first.node.ctr(['images', 'ls', '-q', `target.digest==${image.digest}`])).split('\n')) {
      if (alias !== '') await first.node.ctr(['images', 'rm', '--sync', alias])
    }
    expect(await given(open, () => second.pull(name))).toBeGreaterThan(2 * MiB)
    expect(await second.has(name)).toBe(image.digest)
  })
})

it('a gateway learns from a node what it has', async () => {
  const root = join(first.node.directory, 'agent')
  await mkdir(root)
  const images = createImages()
  let revised = 0
  const part = await images.part.start({
    ...{
      node: 'first',
      env: {},
      config: { ...defaultAgentConfig, mirror: { ...defaultAgentConfig.mirror, serve: 'all' } },
    },
    host: { distribution: { root: join(first.node.directory, 'containerd') } } as Preflight,
    ...{ containerd: first.socket, namespace: 'k8s.io', root, tmpdir: root, runDirectory: root, socket: '/nowhere' },
    ...{ log: silent, daemonPid: () => undefined, alone: () => false, changed: () => (revised += 1) },
  })
  const tls = await agentTls(authority, 'first')
  const front = await startFront({
    ...{ host: '127.0.0.1', port: 0, tls, socket: '/nowhere', handlers: () => part.handlers ?? [], log: silent },
    ...{ client: spiffe(namespace, 'insitu-gateway') },
  })
  const learned = createOrdinaryImages()
  const at = { node: 'first', host: '127.0.0.1', port: front.port }
  const gateway = await gatewayTls(authority)
  const inventories = followInventories({
    ...{ index: createImageIndex(), ordinary: learned, logger: silent },
    ask: (_, path) => askAgent(at, gateway, { method: 'GET', path }),
  })
  const tell = (): void => {
    const agent = { node: 'first', uid: 'u', ip: '127.0.0.1', report: part.report?.({} as never) }
    inventories.agent('first', agent as unknown as Agent)
  }
  try {
    const { repository, image } = await publish(open)
    tell()
    const before = revised
    await first.pull(`open.test/${repository}:v1`)
    await until('the agent to tell of it', () => revised > before)
    tell()
    await until('the gateway to know', () => (tell(), learned.holders(image.digest, 8).includes('first')))
  } finally {
    inventories.stop()
    await front.close()
    await part.stop()
  }
})

describe('an image that a registry does not give to everybody', () => {
  it('is pulled from the registry, with the credentials of each pod, whoever has it', async () => {
    const { repository, image } = await publish(locked, 'v1', password)
    const name = `locked.test/${repository}:v1`
    expect(await given(locked, () => first.pull(name, password))).toBeGreaterThan(2 * MiB)
    expect(
      await given(locked, async () =>
        expect(await refused(second.pull(name))).toMatch(/failed to resolve (image|reference)/),
      ),
    ).toBe(0)
    expect(await refused(second.pull(name, 'wrong'))).toMatch(/failed to resolve (image|reference)/)
    // Not by a digest that somebody knows either, whichever repository it is said to be of.
    for (const [registry, of] of [
      ['locked.test', repository],
      ['open.test', 'team/any'],
    ] as const) {
      for (const path of [`manifests/v1`, `manifests/${image.digest}`, `blobs/${image.layers[0]}`]) {
        expect((await second.ask(`/v2/${of}/${path}?ns=${registry}`)).status).toBe(404)
      }
    }
    expect(await second.has(name)).toBeUndefined()
    expect(await given(locked, () => second.pull(name, password))).toBeGreaterThan(2 * MiB)
    expect(await second.has(name)).toBe(image.digest)
  })

  it('is not served when the token server knows nobody without a password', async () => {
    const { repository } = await publish(withTokens)
    await first.pull(`token.test/${repository}:v1`)
    generous = false
    try {
      // Another repository than those that there is a token for.
      expect((await second.ask(`/v2/${repository}/manifests/v1?ns=token.test`, 'HEAD')).status).toBe(404)
    } finally {
      generous = true
    }
    expect((await second.ask(`/v2/${repository}/manifests/v1?ns=token.test`, 'HEAD')).status).toBe(200)
  })

  it('of one repository opens no blob of another', async () => {
    const hidden = await publish(locked, 'v1', password)
    await first.pull(`locked.test/${hidden.repository}:v1`, password)
    const layer = hidden.image.layers[0] ?? ''
    // A public manifest that names the layer, which its registry does not have.
    const { repository } = await publish(open)
    await first.pull(`open.test/${repository}:v1`)
    const path = `/v2/${repository}/blobs/${layer}?ns=open.test`
    expect((await second.ask(path)).status).toBe(404)
    // Agents that ask each other learn no more.
    const client = peerClient({ tls: () => agentTls(authority, 'second') })
    const answer = await client.get(peers.get('first') as Peer, path, {})
    answer.destroy()
    client.close()
    expect(answer.statusCode).toBe(404)
  })
})

describe('a registry', () => {
  it('that cannot be asked leaves the pull to containerd at once', async () => {
    const gone = await startCountedRegistry()
    const certs = join(second.node.directory, 'certs.d/gone.test')
    await mkdir(certs, { recursive: true })
    await writeFile(join(certs, 'hosts.toml'), `server = "http://127.0.0.1:${gone.port}"\n`)
    await gone.stop()
    expect((await second.ask('/v2/team/app/manifests/v1?ns=gone.test', 'HEAD')).status).toBe(404)
  })

  it('is asked through the proxy that containerd uses', async () => {
    const { repository, image } = await publish(open)
    const proxy = await startHttpProxy({ hosts: { 'only.test': '127.0.0.1' } })
    const env = { PATH: process.env['PATH'] ?? '', HTTP_PROXY: proxy.url, NO_PROXY: 'other.test' }
    // A process with the environment of a containerd behind a proxy.
    const like = spawn('sleep', ['infinity'], { env })
    await until('the environment of the process', async () =>
      (await readFile(`/proc/${like.pid}/environ`, 'utf8')).includes('other.test'),
    )
    const certs = join(second.node.directory, 'certs.d/only.test')
    await mkdir(certs, { recursive: true })
    await writeFile(join(certs, 'hosts.toml'), `server = "http://only.test:${open.port}"\n`)
    const address = `/proc/${second.node.pid}/root/run/containerd/containerd.sock`
    const registries = await nodeRegistries({ address, pid: like.pid, hostRoot: '/', log: silent })
    try {
      expect(await registries.head(`only.test/${repository}`, 'v1', accept)).toMatchObject({ digest: image.digest })
      expect(proxy.requests().join()).toContain('only.test')
    } finally {
      registries.close()
      like.kill('SIGKILL')
      await proxy.stop()
    }
  })
})
