import { expect, test } from 'vitest'
import type { BuiltImage, Peer } from '../../api/images.ts'
import { createInProgress, type InProgress } from './in-progress.ts'
import { createImageIndex, type ImageIndex } from './index.ts'
import { createLookups, type LookupOptions, type Lookups } from './lookup.ts'

const name = 'docker.io/library/app:1'
const image: BuiltImage = { name, digest: `sha256:${'a'.repeat(64)}`, version: 1 }
const never = new AbortController().signal

function parts(load: (node: string) => number = () => 0): { index: ImageIndex; builds: InProgress; lookups: Lookups } {
  const index = createImageIndex()
  const builds = createInProgress()
  const peer = (node: string): Peer | undefined => (node === 'lost' ? undefined : { node, host: node, port: 1 })
  return { index, builds, lookups: createLookups({ index, inProgress: builds, peer, load, random: () => 0 }) }
}

test('a name that nobody has is none at once, however long the caller would wait', async () => {
  const { lookups } = parts()
  expect(await lookups.lookup({ name }, 'n9', 60_000, never)).toEqual({ state: 'none' })
})

test('a name whose only node is between two agents is waited for, until the next one says what it has', async () => {
  let awaited = ['n1']
  const index = createImageIndex()
  const peer = (node: string): Peer => ({ node, host: node, port: 1 })
  const options = { index, inProgress: createInProgress(), peer, load: () => 0, awaited: () => awaited }
  const lookups = createLookups(options)
  expect(await lookups.lookup({ name }, 'n9', 0, never)).toEqual({ state: 'building', node: undefined })
  const begun = performance.now()
  expect(await lookups.lookup({ name }, 'n9', 1000, never)).toEqual({ state: 'building', node: undefined })
  expect(performance.now() - begun).toBeLessThan(1900)
  // Itself it has it, and nobody else has to say so.
  expect(await lookups.lookup({ name }, 'n1', 60_000, never)).toEqual({ state: 'none' })
  const held = lookups.lookup({ name }, 'n9', 60_000, never)
  await expect.poll(() => lookups.held).toBe(1)
  index.add('n1', image)
  expect(await held).toMatchObject({ state: 'here', peers: [{ node: 'n1' }] })
  expect(lookups.held).toBe(0)

  index.forget('n1')
  const inVain = lookups.lookup({ name }, 'n9', 60_000, never)
  await expect.poll(() => lookups.held).toBe(1)
  awaited = []
  expect(await inVain).toEqual({ state: 'none' })
})

test('a node that was told where a name is may have it from then on, though its agent has not said so', async () => {
  const { index, lookups } = parts()
  index.add('n1', image)
  expect(lookups.told(name)).toEqual([])
  await lookups.lookup({ name, finished: true }, 'n8', 0, never)
  await lookups.lookup({ repository: 'docker.io/library/app', digest: image.digest }, 'n8', 0, never)
  await lookups.lookup({ name: 'docker.io/library/other:1' }, 'n8', 0, never)
  expect(lookups.told(name)).toEqual([])
  await lookups.lookup({ name }, 'n9', 0, never)
  expect(lookups.told(name)).toEqual(['n9'])
})

test('peers are those that have the newest and can be reached, the least busy first, the caller not among them', async () => {
  const { index, lookups } = parts((node) => (node === 'n1' ? 2 : 1))
  for (const node of ['n1', 'n2', 'n9', 'lost']) index.add(node, image)
  index.add('old', { ...image, version: 0 })
  const found = await lookups.lookup({ name }, 'n9', 0, never)
  expect(found).toMatchObject({ state: 'here', image, peers: [{ node: 'n2' }, { node: 'n1' }] })
})

test('a node whose agent is being stopped is the last to be asked, and is asked where no other has the image', async () => {
  const index = createImageIndex()
  const peer = (node: string): Peer => ({ node, host: node, port: 1 })
  const options = { index, inProgress: createInProgress(), peer, load: () => 0, random: () => 0.5 }
  const lookups = createLookups({ ...options, drains: (node) => node === 'n1' })
  index.add('n1', image)
  expect(await lookups.lookup({ name }, 'n9', 0, never)).toMatchObject({ peers: [{ node: 'n1' }] })
  for (const node of ['n2', 'n3']) index.add(node, image)
  const found = await lookups.lookup({ name }, 'n9', 0, never)
  expect(found).toMatchObject({ peers: [{ node: 'n2' }, { node: 'n3' }, { node: 'n1' }] })
})

test('a node that was told where to get an image from hears of that node first', async () => {
  const index = createImageIndex()
  const peer = (node: string): Peer => ({ node, host: node, port: 1 })
  const assigned = (asking: string): string | undefined => (asking === 'n9' ? 'n2' : undefined)
  const options = { index, inProgress: createInProgress(), peer, load: () => 0, random: () => 0.5, assigned }
  for (const node of ['n1', 'n2', 'n3']) index.add(node, image)
  const found = await createLookups(options).lookup({ name }, 'n9', 0, never)
  expect(found).toMatchObject({ peers: [{ node: 'n2' }, { node: 'n1' }, { node: 'n3' }] })
})

/** 20 nodes that have the image, of which the last is arm64; who asks is told of some of them. */
function mixed(more: Partial<LookupOptions> = {}): (asking: string) => Promise<readonly string[]> {
  const index = createImageIndex()
  for (let i = 0; i < 19; i += 1) index.add(`amd${i}`, image)
  index.add('arm0', image)
  const lookups = createLookups({
    ...{ index, inProgress: createInProgress(), load: () => 0, random: () => 0 },
    peer: (node) => ({ node, host: node, port: 1 }),
    platform: (node) => (node.startsWith('new') ? undefined : `linux/${node.slice(0, 3)}64`),
    ...more,
  })
  return async (asking) => {
    const found = await lookups.lookup({ name }, asking, 0, never)
    return found.state === 'here' ? found.peers.map(({ node }) => node) : []
  }
}

test('nodes of its own platform are named first to a node: of many, only they may have what it needs of an index', async () => {
  const peers = await mixed()('arm9')
  expect(peers).toEqual(['arm0', 'amd0', 'amd1', 'amd2', 'amd3', 'amd4', 'amd5', 'amd6'])
  const drains = (node: string): boolean => node === 'arm0'
  expect((await mixed({ drains })('arm9'))[0], 'also where it is being stopped').toBe('arm0')
  const others = (node: string): number => Number(node === 'arm0')
  expect((await mixed({ load: others })('arm9'))[0], 'or is the busiest').toBe('arm0')
  expect((await mixed({ assigned: () => 'amd7' })('arm9')).slice(0, 2), 'but for a decision').toEqual(['amd7', 'arm0'])
})

test('one node of each other platform is named too: a build there may want that platform of a base', async () => {
  const amd = ['amd0', 'amd1', 'amd2', 'amd3', 'amd4', 'amd5', 'amd6']
  expect(await mixed()('amd99')).toEqual([...amd, 'arm0'])
  expect(await mixed()('new'), 'also to a node of which nothing is known').toEqual([...amd, 'arm0'])
  expect(await mixed({ platform: () => undefined })('arm9')).toEqual([...amd, 'amd7'])
})

test('a name being built is building, and whoever waits is answered when the build has ended', async () => {
  const { index, builds, lookups } = parts()
  const build = builds.begin([name])
  expect(await lookups.lookup({ name }, 'n9', 0, never)).toEqual({ state: 'building', node: undefined })
  build.placed('n1')
  expect(await lookups.lookup({ name }, 'n9', 10, never)).toEqual({ state: 'building', node: 'n1' })
  expect(await lookups.lookup({ name, finished: true }, 'n9', 60_000, never)).toEqual({ state: 'none' })
  const waiting = lookups.lookup({ name }, 'n9', 60_000, never)
  expect(lookups.held).toBe(1)
  index.add('n1', image)
  build.ended()
  expect(await waiting).toMatchObject({ state: 'here', image, peers: [{ node: 'n1' }] })
  expect([lookups.held, builds.names]).toEqual([0, 0])
})

test('an older image is no answer while a newer one is being built', async () => {
  const { index, builds, lookups } = parts()
  index.add('n1', image)
  const build = builds.begin([name])
  expect((await lookups.lookup({ name }, 'n9', 0, never)).state).toBe('building')
  expect(await lookups.lookup({ name, finished: true }, 'n9', 60_000, never)).toMatchObject({ state: 'here', image })
  build.ended('it failed')
  expect((await lookups.lookup({ name }, 'n9', 0, never)).state).toBe('here')
})

test('a build that fails is told to those who waited, and the older image stays the answer', async () => {
  const { index, builds, lookups } = parts()
  const first = builds.begin([name])
  const second = builds.begin([name])
  const waiting = lookups.lookup({ name }, 'n9', 60_000, never)
  first.ended('no such base')
  second.ended('RUN failed')
  second.ended()
  expect(await waiting).toEqual({ state: 'failed', reason: 'RUN failed' })
  index.add('n1', image)
  const third = builds.begin([name])
  const again = lookups.lookup({ name }, 'n9', 60_000, never)
  third.ended('RUN failed')
  expect((await again).state).toBe('here')
})

test('a caller that goes away is not waited with', async () => {
  const { builds, lookups } = parts()
  builds.begin([name])
  const gone = new AbortController()
  const waiting = lookups.lookup({ name }, 'n9', 60_000, gone.signal)
  gone.abort(new Error('gone'))
  expect((await waiting).state).toBe('building')
  expect(lookups.held).toBe(0)
})

test('the answer to a node that pulls one image at a time is held while nobody waits behind it there', async () => {
  const index = createImageIndex()
  const builds = createInProgress()
  let crowd = false
  const crowded = (node: string, of: string): boolean => crowd && node === 'n9' && of === name
  const lookups = createLookups({ ...{ index, inProgress: builds, crowded }, peer: () => undefined, load: () => 0 })
  builds.begin([name])
  const plain = lookups.lookup({ name }, 'n9', 60_000, never)
  const serial = lookups.lookup({ name }, 'n9', 60_000, never, { serial: true })
  expect(lookups.held).toBe(2)
  crowd = true
  expect(await serial).toEqual({ state: 'building', node: undefined, crowded: true })
  expect(lookups.held, 'who did not ask so is held').toBe(1)
  expect(await lookups.lookup({ name }, 'n9', 60_000, never, { serial: true })).toMatchObject({ crowded: true })
  expect(await lookups.lookup({ name }, 'n9', 0, never)).toEqual({ state: 'building', node: undefined })
  void plain
})

test('so is the answer about a name whose build was asked for and has not begun', async () => {
  let crowd = false
  let comes = false
  let demands = 0
  const pulls: LookupOptions['pulls'] = {
    answer: () => ({ state: 'onPull' }),
    async demand() {
      demands += 1
      await Promise.resolve()
      crowd = comes
      return { state: 'onPull' }
    },
  }
  const options = { index: createImageIndex(), inProgress: createInProgress(), pulls, crowded: () => crowd }
  const lookups = createLookups({ ...options, peer: () => undefined, load: () => 0 })
  const ask = (serial: boolean) => lookups.lookup({ name }, 'n9', 1000, never, { demand: true, serial })
  expect(await ask(true)).toEqual({ state: 'onPull' })
  comes = true
  expect(await ask(true)).toEqual({ state: 'onPull', crowded: true })
  expect(await ask(false)).toEqual({ state: 'onPull' })
  expect([await ask(true), demands]).toEqual([{ state: 'onPull', crowded: true }, 3])
})
