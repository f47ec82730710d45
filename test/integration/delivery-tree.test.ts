import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createPulls, type Pulls } from '../../src/agent/delivery/pulls.ts'
import { type Mirror, startMirror } from '../../src/agent/mirror/mirror.ts'
import type { BuiltImage, Peer } from '../../src/api/images.ts'
import { InsituError } from '../../src/kernel/errors.ts'
import { type Authority, createAuthority } from '../../src/kernel/tls/ca.ts'
import { deliver } from '../../src/gateway/delivery/deliver.ts'
import { createProgress } from '../../src/gateway/progress/progress.ts'
import { agentTls, layOut, silent, startPeer, testGateways, type TestPeer } from './fixtures/mirror-peers.ts'
import { type SketchedImage, sketchImage } from './fixtures/oci-image.ts'

const name = 'registry.example.test/team/tree:v1'
const targets = ['n1', 'n2', 'n3', 'n4', 'n5', 'n6']
const gateways = testGateways()
let directory: string
let authority: Authority
let image: SketchedImage
let built: BuiltImage
let builder: TestPeer

/** A node without a containerd: its pulls are the requests that containerd makes. */
interface Node {
  readonly peer: TestPeer
  readonly mirror: Mirror
  readonly pulls: Pulls
}
const nodes = new Map<string, Node>()

async function startNode(node: string): Promise<Node> {
  const root = join(directory, node)
  const peer = await startPeer({ authority, node, root })
  const mirror = await startMirror({
    ...{ containerdRoot: root, containerd: () => Promise.reject(new Error('there is none')), records: peer.records },
    ...{ gateways, tls: agentTls(authority, node), host: '127.0.0.1', port: 0, log: silent },
  })
  const get = async (path: string): Promise<[string, Buffer]> => {
    const url = `http://127.0.0.1:${mirror.server.port}/v2/team/tree/${path}?ns=registry.example.test`
    const answer = await fetch(url)
    if (!answer.ok) throw new Error(`${path}: ${answer.status}`)
    return [answer.headers.get('docker-content-digest') ?? '', Buffer.from(await answer.arrayBuffer())]
  }
  const pull = async (): Promise<void> => {
    const [digest] = await get('manifests/v1')
    const manifest = await get(`manifests/${digest}`)
    const blobs = [...image.blobs.keys()].filter((blob) => blob !== digest)
    await layOut(root, new Map([manifest, ...(await Promise.all(blobs.map((blob) => get(`blobs/${blob}`))))]))
    peer.records.set({ name, digest, version: 1 })
  }
  const pulls = createPulls({
    ...{ pull, log: silent, begin: mirror.deliveries.begin, sizeOf: mirror.sizeOf, pace: 5 },
    digestOf: () => Promise.resolve(peer.records.find(name)?.digest),
    arriving: () => Promise.resolve(),
  })
  return { peer, mirror, pulls }
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'insitu-tree-'))
  authority = await createAuthority()
  image = await sketchImage(directory, name, { layers: [3 << 20, 9 << 20] })
  built = { name, digest: image.digest, version: 1 }
  await layOut(join(directory, 'builder'), image.blobs)
  builder = await startPeer({ authority, node: 'builder', root: join(directory, 'builder') })
  builder.records.set(built)
  for (const target of targets) nodes.set(target, await startNode(target))
  // Gateways that know of no plan, and of the builder only.
  for (const one of ['one', 'two']) {
    gateways.answer(one, () => ({ state: 'here', image: built, peers: [builder.peer] }))
  }
})
afterAll(async () => {
  for (const { peer, mirror } of nodes.values()) {
    await mirror.close()
    await peer.close()
  }
  await builder?.close()
  await rm(directory, { recursive: true, force: true })
})

it('six nodes get an image of which the builder sends no more than it must, and each knows how much will come', async () => {
  const size = [...image.blobs.values()].reduce((sum, { length }) => sum + length, 0)
  const addresses = new Map<string, Peer>([['builder', builder.peer]])
  for (const [node, { peer }] of nodes) addresses.set(node, peer.peer)
  const totals = new Set<number | undefined>()
  const results = await deliver(
    {
      ...{ images: [built], sources: ['builder'], targets, progress: createProgress() },
      signal: new AbortController().signal,
    },
    {
      async pull(target, wanted, peers, onBytes, signal) {
        let bytes = -1
        await nodes.get(target)!.pulls.pull(
          { image: wanted, peers: peers.flatMap((node) => addresses.get(node) ?? []) },
          (line) => {
            if ('error' in line) throw new InsituError('DELIVERY', line.error)
            bytes = line.bytes
            if ('done' in line) return
            if (line.bytes > 0) totals.add(line.total)
            onBytes(line.bytes, line.total)
          },
          signal,
        )
        return bytes
      },
      ...{ superseded: () => undefined, lost: () => undefined, onDelivered: () => Promise.resolve(), perSource: 2 },
    },
  )
  expect(results.map(({ failure }) => failure)).toEqual(targets.map(() => undefined))
  const sent = new Map([builder, ...[...nodes.values()].map(({ peer }) => peer)].map((p) => [p.peer.node, p.sent()]))
  // A star would be six times the image; nobody sends more than the builder has to.
  for (const [node, bytes] of sent) expect(bytes, node).toBeLessThanOrEqual(4 * size)
  expect([...sent.values()].filter((bytes) => bytes > 0).length).toBeGreaterThanOrEqual(3)
  expect([...sent.values()].reduce((sum, bytes) => sum + bytes, 0)).toBe(6 * size)
  const blobs = size - (image.blobs.get(image.digest)?.length ?? 0)
  for (const { bytes } of results) expect(bytes).toBe(blobs)
  expect([...totals]).toEqual([blobs])
})
