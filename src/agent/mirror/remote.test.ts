import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { beforeEach, describe, expect, test } from 'vitest'
import type { BuiltImage, Peer } from '../../api/images.ts'
import { createLogger } from '../../kernel/log.ts'
import { createDeliveries } from './deliveries.ts'
import { createLinks } from './links.ts'
import { isNewer, type Joined, type Lookups } from './lookups.ts'
import { createRemote, type Remote } from './remote.ts'
import { createSource, type Source } from './source.ts'
import { readVerified } from './verified.ts'

// Two tags of one repository: the older image is on node A alone, the newer one on node B alone.

const repository = 'registry.test/team/app'
const links = createLinks()
const log = createLogger({ level: 'silent' })

interface Node {
  readonly peer: Peer
  readonly blobs: Map<string, Buffer>
  /** What it answers next instead of content. */
  readonly troubles: ('busy' | 'breaks')[]
  readonly asked: string[]
}
interface Sketch {
  readonly image: BuiltImage
  readonly manifest: string
  readonly layer: string
  readonly blobs: ReadonlyMap<string, Buffer>
}

let nodes: Map<string, Node>
let held: { readonly image: BuiltImage; readonly node: string }[]
let now: number
let deliveries: ReturnType<typeof createDeliveries>
let source: Source
let remote: Remote

/** An image of one layer, below an index or without one. Of the same content it is the same manifest. */
function sketch(tag: string, version: number, index: boolean, content = tag): Sketch {
  const blobs = new Map<string, Buffer>()
  const add = (mediaType: string, content: unknown) => {
    const bytes = Buffer.from(JSON.stringify(content))
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`
    blobs.set(digest, bytes)
    return { mediaType, digest, size: bytes.length }
  }
  const oci = 'application/vnd.oci.image'
  const config = add(`${oci}.config.v1+json`, { config: content })
  const layer = add(`${oci}.layer.v1.tar`, { layer: content })
  const manifest = add(`${oci}.manifest.v1+json`, { mediaType: `${oci}.manifest.v1+json`, config, layers: [layer] })
  const root = index
    ? add(`${oci}.index.v1+json`, { mediaType: `${oci}.index.v1+json`, manifests: [manifest] })
    : manifest
  const image = { name: `${repository}:${tag}`, digest: root.digest, version }
  return { image, manifest: manifest.digest, layer: layer.digest, blobs }
}
function put(name: string, { image, blobs }: Sketch): void {
  const peer = { node: name, host: name, port: 2376 }
  const node = nodes.get(name) ?? { peer, blobs: new Map<string, Buffer>(), troubles: [], asked: [] }
  for (const [digest, bytes] of blobs) node.blobs.set(digest, bytes)
  nodes.set(name, node)
  held.push({ image, node: name })
}
const peer = (name: string): Peer => ({ node: name, host: name, port: 2376 })
const holders = ({ digest }: BuiltImage): Peer[] =>
  held.flatMap(({ image, node }) => (image.digest === digest ? [peer(node)] : []))

/** As gateways answer: the image of the digest, else the newest one of the repository. */
const lookups: Lookups = {
  ask(wanted) {
    const all = held.map(({ image }) => image)
    const images = 'name' in wanted ? all : all.filter(({ name }) => name.startsWith(`${wanted.repository}:`))
    const found =
      'name' in wanted
        ? images.find(({ name }) => name === wanted.name)
        : (images.find(({ digest }) => digest === wanted.digest) ??
          images.reduce<BuiltImage | undefined>((a, b) => (a && isNewer(a, b) ? a : b), undefined))
    return Promise.resolve<Joined>(found ? { state: 'here', image: found, peers: holders(found) } : { state: 'none' })
  },
  change: () => Promise.reject(new Error('nothing is being built')),
  demand: () => Promise.reject(new Error('nothing is wanted')),
}

function answer(status: number, body: Readable, headers: Record<string, string> = {}): IncomingMessage {
  return Object.assign(body, { statusCode: status, headers }) as unknown as IncomingMessage
}
function get(to: Peer, path: string, headers: Readonly<Record<string, string>>): Promise<IncomingMessage> {
  const node = nodes.get(to.node)
  const digest = /sha256:[0-9a-f]+/.exec(path)?.[0] ?? ''
  const bytes = node?.blobs.get(digest)
  node?.asked.push(digest)
  const trouble = bytes && node?.troubles.shift()
  if (trouble === 'busy') return Promise.resolve(answer(503, Readable.from([])))
  if (!bytes) return Promise.resolve(answer(404, Readable.from([])))
  const from = Number(/^bytes=(\d+)-/.exec(headers['range'] ?? '')?.[1] ?? '0')
  const given = trouble === 'breaks' ? bytes.subarray(from, from + 5) : bytes.subarray(from)
  const body = Readable.from([given], { objectMode: false })
  return Promise.resolve(answer(from > 0 ? 206 : 200, body, { 'insitu-size': String(bytes.length) }))
}

beforeEach(() => {
  nodes = new Map()
  held = []
  now = 0
  deliveries = createDeliveries()
  source = createSource({ client: { get, close() {} }, links, log, now: () => now })
  remote = createRemote({
    ...{ source, links, log, lookups: deliveries.planned(lookups), planned: deliveries.peers, now: () => now },
  })
})

/** A pull as containerd does it: the name, what it points to, each blob. */
async function begin({ image, manifest }: Sketch, from = repository): Promise<void> {
  const found = await deliveries.planned(lookups).ask({ name: image.name })
  const peers = found.state === 'here' ? found.peers : []
  expect(await remote.manifest(from, image.digest, peers)).toBeDefined()
  const below = manifest === image.digest ? [] : [manifest]
  for (const digest of below) expect(await remote.manifest(from, digest)).toBeDefined()
}
async function layer({ layer, blobs }: Sketch): Promise<void> {
  const content = await remote.blob(repository, layer)
  const bytes = content && (await readVerified(content, 'blobs', { source, links, log }))
  expect(bytes).toEqual(blobs.get(layer))
}
async function pull(image: Sketch): Promise<void> {
  await begin(image)
  await layer(image)
}

describe.each([
  ['an index', true],
  ['a single image', false],
])('the older of two tags, %s', (_, index) => {
  let older: Sketch
  let newer: Sketch
  beforeEach(() => {
    older = sketch('pr-1', 1, index)
    newer = sketch('pr-2', 2, index)
    put('a', older)
    put('b', newer)
  })

  test('comes from the node that has it, and nobody else is asked', async () => {
    await pull(older)
    expect(nodes.get('b')?.asked).toEqual([])
  })

  test('comes from there though the node is busy at first, and breaks off', async () => {
    await begin(older)
    nodes.get('a')?.troubles.push('busy', 'busy', 'breaks')
    await layer(older)
    expect(nodes.get('b')?.asked).toEqual([])
  })

  test('comes from there a minute later, and when it is pulled again', async () => {
    await begin(older)
    now += 61_000
    await layer(older)
    await pull(older)
    now += 61_000
    await pull(older)
    expect(nodes.get('b')?.asked).toEqual([])
  })

  test('comes from another node when those that had it have lost it', async () => {
    await begin(older)
    nodes.get('a')?.blobs.clear()
    held.splice(0, 1)
    put('c', older)
    await layer(older)
    expect(nodes.get('c')?.asked).toEqual([older.layer])
  })

  test('comes from its own builder while both are delivered, though no gateway has heard of them', async () => {
    held.length = 0
    const ends = [older, newer].map((one, i) =>
      deliveries.begin({ image: one.image, peers: [peer(i === 0 ? 'a' : 'b')] }),
    )
    await Promise.all([pull(newer), pull(older)])
    now += 61_000
    await layer(older)
    for (const delivery of ends) delivery.end()
    expect(nodes.get('a')?.asked).not.toContain(newer.layer)
    expect(nodes.get('b')?.asked).not.toContain(older.layer)
  })

  test('comes by the plan of its delivery, though another tag has a newer image', async () => {
    put('c', older)
    deliveries.begin({ image: older.image, peers: [peer('c')] })
    await begin(older)
    now += 61_000
    nodes.get('c')?.troubles.push('busy')
    await layer(older)
    expect([nodes.get('a')?.asked, nodes.get('b')?.asked]).toEqual([[], []])
  })
})

test('a manifest that an index of another node has too comes with the image that is pulled', async () => {
  const [first, second] = [sketch('pr-1', 1, false), sketch('pr-2', 2, true, 'pr-1')]
  put('a', first)
  put('b', second)
  await pull(second)
  nodes.get('b')?.asked.splice(0)
  await pull(first)
  now += 61_000
  await layer(first)
  expect(nodes.get('b')?.asked).toEqual([])
})

test('content that an image of another repository has too comes from the nodes of that one', async () => {
  const [older, newer] = [sketch('pr-1', 1, false), sketch('pr-2', 2, false)]
  const sketched = sketch('pr-1', 3, true)
  const web = { ...sketched, image: { ...sketched.image, name: 'registry.test/team/web:1' } }
  put('a', older)
  put('b', newer)
  put('c', web)
  await begin(older)
  await begin(web, 'registry.test/team/web')
  now += 61_000
  await layer(older)
  expect([nodes.get('b')?.asked, nodes.get('c')?.asked.includes(older.layer)]).toEqual([[], true])
})
