import { createHash } from 'node:crypto'
import { arch } from 'node:process'
import { beforeEach, expect, it } from 'vitest'
import { chainOf, createSurveys, missingOf } from './missing.ts'

const digestOf = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`
const files = new Map<string, Buffer>()
const put = (content: unknown): string => {
  const bytes = Buffer.from(JSON.stringify(content))
  files.set(digestOf(bytes), bytes)
  return digestOf(bytes)
}
const blobs = new Set<string>()
const snapshots = new Set<string>()
let reads: string[] = []
const store = {
  read(digest: string): Promise<Buffer> {
    reads.push(digest)
    const found = files.get(digest)
    return found ? Promise.resolve(found) : Promise.reject(new Error(`${digest} is not here`))
  },
}

interface Image {
  readonly root: string
  readonly manifest: string
  readonly config: string
  readonly layers: readonly [string, string]
  readonly chain: readonly string[]
}

/** An image of two layers behind an index that has one of another architecture too, whole on this node. */
function image(name: string): Image {
  const diffs = [`sha256:${name}-1`, `sha256:${name}-2`]
  const layers = [`sha256:${name}-layer-1`, `sha256:${name}-layer-2`] as const
  const config = put({ name, rootfs: { diff_ids: diffs } })
  const manifest = put({ config: { digest: config }, layers: layers.map((digest) => ({ digest })) })
  const ours = { os: 'linux', architecture: arch === 'x64' ? 'amd64' : arch }
  const other = { digest: `sha256:${name}-elsewhere`, platform: { os: 'linux', architecture: 's390x' } }
  const root = put({ manifests: [other, { digest: manifest, platform: ours }] })
  for (const digest of [root, manifest, config, ...layers]) blobs.add(digest)
  const chain = chainOf(diffs)
  for (const key of chain) snapshots.add(key)
  return { root, manifest, config, layers, chain }
}

beforeEach(() => {
  for (const all of [files, blobs, snapshots]) all.clear()
  reads = []
})

const direct = (root: string): Promise<string | undefined> =>
  missingOf(root, {
    store,
    hasBlob: (digest) => Promise.resolve(blobs.has(digest)),
    hasSnapshot: (key) => Promise.resolve(snapshots.has(key)),
  })
let lists = 0
const surveys = () =>
  createSurveys({
    store,
    blobs: () => Promise.resolve(new Set((lists++, blobs))),
    snapshots: () => Promise.resolve(new Set(snapshots)),
  })

it.each<[string, (app: Image) => void, (app: Image) => string | undefined]>([
  ['nothing', () => undefined, () => undefined],
  ['the index', (app) => blobs.delete(app.root), (app) => app.root],
  ['the manifest', (app) => blobs.delete(app.manifest), (app) => app.manifest],
  ['the config', (app) => blobs.delete(app.config), (app) => app.config],
  ['a layer that is unpacked', (app) => blobs.delete(app.layers[0]), () => undefined],
  ['snapshots of layers that are here', () => snapshots.clear(), () => undefined],
  [
    'a layer and the snapshots above it',
    ({ layers, chain }) => [blobs.delete(layers[1]), snapshots.delete(chain[1] ?? '')],
    (app) => app.layers[1],
  ],
  [
    'the first layer and all snapshots',
    ({ layers }) => [blobs.delete(layers[0]), snapshots.clear()],
    (app) => app.layers[0],
  ],
])('what is gone is named, asked for or by lists, the first time and later: %s', async (_, take, expected) => {
  const app = image('app')
  const survey = surveys()
  expect(await (await survey())(app.root)).toBeUndefined()
  take(app)
  expect(await direct(app.root)).toBe(expected(app))
  expect(await (await survey())(app.root)).toBe(expected(app))
  expect(await (await surveys()())(app.root)).toBe(expected(app))
})

it('of several variants of this architecture one is enough, whichever was pulled', async () => {
  const [base, newer] = [image('base'), image('newer')]
  const platform = { os: 'linux', architecture: arch === 'x64' ? 'amd64' : arch }
  const variants = [
    { digest: base.manifest, platform },
    { digest: newer.manifest, platform: { ...platform, variant: 'v3' } },
  ]
  const root = put({ manifests: variants })
  blobs.add(root)
  const survey = surveys()
  const missing = async () => [await direct(root), await (await survey())(root), await (await surveys()())(root)]
  const take = ({ manifest, config, layers, chain }: Image) => {
    for (const digest of [manifest, config, ...layers]) blobs.delete(digest)
    for (const key of chain) snapshots.delete(key)
  }
  take(base)
  expect(await missing()).toEqual([undefined, undefined, undefined])
  // Another pull may bring the other one.
  take(newer)
  expect(await missing()).toEqual([base.manifest, base.manifest, base.manifest])
  blobs.add(base.manifest).add(base.config)
  expect(await missing()).toEqual([base.layers[0], base.layers[0], base.layers[0]])
  for (const digest of base.layers) blobs.add(digest)
  expect(await missing()).toEqual([undefined, undefined, undefined])
})

it('many images take one list of each kind, and what was read once is not read again', async () => {
  const images = Array.from({ length: 50 }, (_, i) => image(`app-${i}`))
  const survey = surveys()
  lists = 0
  const first = await survey()
  for (const { root } of images) expect(await first(root)).toBeUndefined()
  expect(lists).toBe(1)
  expect(reads).toHaveLength(150)
  const second = await survey()
  for (const { root } of images.slice(1)) expect(await second(root)).toBeUndefined()
  expect(lists).toBe(2)
  expect(reads).toHaveLength(150)
  // One that nobody asked about the last time is forgotten.
  const third = await survey()
  for (const { root } of images) expect(await third(root)).toBeUndefined()
  expect(reads).toHaveLength(153)
})

it('content that cannot be read is missing', async () => {
  const app = image('app')
  files.delete(app.config)
  expect(await direct(app.root)).toBe(app.config)
})
