import { execFile } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { containerdCall } from '../../src/agent/host/containerd-call.ts'
import type { Preflight } from '../../src/agent/host/preflight.ts'
import { createImages, type Images } from '../../src/agent/images/images.ts'
import { builtLabel } from '../../src/agent/images/pins.ts'
import { criPuller } from '../../src/agent/delivery/puller.ts'
import { putMirror } from '../../src/agent/mirror/certs.ts'
import { registryDirectories } from '../../src/agent/mirror/config-path.ts'
import { type Mirror, startMirror } from '../../src/agent/mirror/mirror.ts'
import type { RunningPart } from '../../src/agent/part.ts'
import { defaultAgentConfig } from '../../src/api/agent-config.ts'
import { fieldOf, messages, string } from '../../src/kernel/grpc/wire.ts'
import { createAuthority } from '../../src/kernel/tls/ca.ts'
import { startNode, type TestNode } from './fixtures/containerd.ts'
import { agentTls, layOut, silent, startPeer, testGateways, type TestPeer } from './fixtures/mirror-peers.ts'
import { type SketchedImage, sketchImage } from './fixtures/oci-image.ts'
import { until } from './fixtures/until.ts'

const exec = promisify(execFile)
const name = 'registry.example.test/team/kept:v1'
const token = 'a-secret-of-the-node'
let node: TestNode
let mirror: Mirror
let peer: TestPeer
let image: SketchedImage
let built: Images['built']
let part: RunningPart
let startImages: () => Promise<void>

// A real containerd whose CRI plug-in asks the mirror, the agent's keeper of images, and another node that has the image.
beforeAll(async () => {
  node = await startNode({ discardsLayers: true })
  const socket = `/proc/${node.pid}/root/run/containerd/containerd.sock`
  const authority = await createAuthority()
  const net = 50 + (process.pid % 50)
  const link = `il${process.pid}`
  await exec('ip', ['link', 'add', link, 'type', 'veth', 'peer', 'name', 'out', 'netns', String(node.pid)])
  await exec('ip', ['address', 'add', `10.98.${net}.1/24`, 'dev', link])
  await exec('ip', ['link', 'set', link, 'up'])
  await node.ok('ip', ['address', 'add', `10.98.${net}.2/24`, 'dev', 'out'])
  await node.ok('ip', ['link', 'set', 'out', 'up'])
  const containerdRoot = join(node.directory, 'containerd')
  const root = join(node.directory, 'agent')
  await mkdir(root)
  startImages = async () => {
    const images = createImages()
    part = await images.part.start({
      ...{
        node: 'n1',
        env: {},
        config: defaultAgentConfig,
        namespace: 'k8s.io',
        changed: () => {},
        daemonPid: () => undefined,
        alone: () => false,
        log: silent,
      },
      host: {
        ...{ snapshotter: 'overlayfs', distribution: { root: containerdRoot } },
        containerd: { discardsLayers: true },
      } as Preflight,
      ...{ containerd: socket, root, tmpdir: root, runDirectory: root, socket: '/nowhere' },
    })
    built = images.built
  }
  await startImages()
  const gateways = testGateways()
  mirror = await startMirror({
    ...{ containerdRoot, containerd: containerdCall(socket, 'k8s.io'), tls: agentTls(authority, 'puller') },
    ...{ gateways, token, port: 0, host: `10.98.${net}.1`, log: silent },
    records: {
      find: (of) => built.find(of),
      list: () => built.list(),
      revision: () => built.revision(),
      arriving: (of) => built.arriving(of),
      arrivingContent: async (digest) => built.arrivingContent?.(digest),
    },
  })
  const directories = await registryDirectories({ address: socket, pid: undefined, hostRoot: '/' })
  await putMirror({ directories, hostRoot: '/' }, { url: `http://10.98.${net}.1:${mirror.server.port}`, token })
  image = await sketchImage(node.directory, name, { layers: [100_000, 6 << 20], index: true })
  const store = join(node.directory, 'peer')
  await layOut(store, image.blobs)
  peer = await startPeer({ authority, node: 'worker-2', root: store })
  const record = { name, digest: image.digest, version: 1 }
  peer.records.set(record)
  gateways.answer('one', () => ({ state: 'here', image: record, peers: [peer.peer] }))
  await criPuller({ socket, namespace: 'k8s.io' })(name, new AbortController().signal)
  await until('the record', () => built.find(name))
})
afterAll(async () => {
  await part?.stop()
  await mirror?.close()
  await peer?.close()
  await node?.stop()
})

const isWhole = async (): Promise<boolean> =>
  /complete \(3\/3\).* true/.test(await node.ctr(['images', 'check', `name==${name}`]).catch(() => ''))
const snapshots = async (): Promise<string[]> =>
  (await node.ctr(['snapshots', '--snapshotter', 'overlayfs', 'list']))
    .split('\n')
    .flatMap((line) => /^sha256:\S+/.exec(line)?.[0] ?? [])
const removeSnapshots = async (): Promise<void> => {
  // Only one without children can be removed.
  for (const key of (await snapshots()).toReversed().concat(await snapshots())) {
    await node.ctr(['snapshots', '--snapshotter', 'overlayfs', 'rm', key]).catch(() => '')
  }
  expect(await snapshots()).toEqual([])
}

/** What nothing refers to goes now, and not when containerd finds the time. */
const collect = async (): Promise<void> => {
  await node.ctr(['leases', 'create', '--id', 'collect'])
  await node.ctr(['leases', 'rm', '--sync', 'collect'])
}

it('layers stay although containerd drops what it has unpacked, also between two agents: other nodes have theirs from here', async () => {
  await collect()
  expect(await isWhole()).toBe(true)
  await part.stop()
  await collect()
  expect(await isWhole()).toBe(true)
  // What is not wanted any more when the next one comes, which goes on with the lease.
  const call = containerdCall(`/proc/${node.pid}/root/run/containerd/containerd.sock`, 'k8s.io')
  const lease = fieldOf(1, 'insitu-images')
  const unwanted = `sha256:${'f'.repeat(64)}`
  const resource = Buffer.concat([fieldOf(1, unwanted), fieldOf(2, 'content')])
  await call('leases.v1.Leases/AddResource', Buffer.concat([lease, fieldOf(2, resource)]))
  await startImages()
  await until('the next agent to go on with the lease', async () => {
    const resources = messages(await call('leases.v1.Leases/ListResources', lease), 1).map((one) => string(one, 1))
    return (resources.includes(image.layers[0] ?? '') && !resources.includes(unwanted)) || undefined
  })
  await collect()
  expect(await isWhole()).toBe(true)
})

it('the name by digest that a pull of a built image makes says that insitu built it', async () => {
  const byDigest = `${name.slice(0, name.lastIndexOf(':'))}@${image.digest}`
  await until('the label', async () =>
    (await node.ctr(['images', 'ls', `name==${byDigest}`])).includes(`${builtLabel}=true`),
  )
})

it('layers and snapshots that somebody deletes behind an image that keeps its name come back from another node', async () => {
  expect(await isWhole()).toBe(true)
  const before = peer.sent()
  await node.ctr(['content', 'rm', ...image.layers])
  expect(await isWhole()).toBe(false)
  await collect()
  // Nothing is missing to a pod as long as the snapshots are there.
  await removeSnapshots()
  await until('the image to be whole', async () => (await isWhole()) || undefined)
  expect(peer.sent() - before).toBeGreaterThan(6 << 20)
  expect(await snapshots()).toHaveLength(2)
  expect(built.find(name)?.digest).toBe(image.digest)
})

it('so do its manifest and its configuration', async () => {
  const layers = new Set(image.layers)
  await node.ctr(['content', 'rm', ...[...image.blobs.keys()].filter((digest) => !layers.has(digest))])
  await until('the image to be whole', async () => (await isWhole()) || undefined)
})

it('and an image that a template names and that was deleted with all its content while no agent ran', async () => {
  await built.wanted([name])
  await part.stop()
  await node.ctr(['leases', 'rm', 'insitu-images'])
  await node.ctr([
    'images',
    'rm',
    '--sync',
    name,
    ...(await node.ctr(['images', 'ls', '-q'])).split('\n').filter((n) => n !== '' && n !== name),
  ])
  expect(await node.ctr(['content', 'ls', '-q'])).not.toContain(image.digest)
  const before = peer.sent()
  await startImages()
  await until('the image to be whole', async () => (await isWhole()) || undefined)
  expect(peer.sent() - before).toBeGreaterThan(6 << 20)
  expect(built.find(name)?.digest).toBe(image.digest)
})
