import { describe, expect, it } from 'vitest'
import { type Books, freedBy, leakedLeases, repositories } from './account.ts'
import { builtLabel } from '../images/pins.ts'
import type { CacheRecord } from './cache.ts'
import { imagesInUse, namesToRemove, removableImages, repositoryOf, untagged } from './images.ts'
import type { Stored, StoredLease } from './reach.ts'
import { select } from './select.ts'

const hour = 3_600_000
const now = 100 * hour
const id = (name: string): string => name.padEnd(25, '0')
const flat = { 'containerd.io/gc.flat': 'x' }
const lease = (name: string, snapshot: string, labels: Readonly<Record<string, string>> = flat): StoredLease => ({
  id: name,
  labels,
  createdAt: now - 2 * hour,
  resources: [{ type: 'snapshots/overlayfs', id: snapshot }],
})
const record = (name: string, bytes: number, more: Partial<CacheRecord> = {}): CacheRecord => ({
  id: id(name),
  kind: 'regular',
  bytes,
  inUse: false,
  shared: false,
  parents: [],
  createdAt: 0,
  lastUsedAt: 0,
  ...more,
})
const snapshot = (bytes: number, parent = '') => ({ parent, bytes, inodes: 10, labels: {} })
const blob = (bytes: number, labels: Readonly<Record<string, string>> = {}) => ({ bytes, labels })

// Two images share a base (snapshot and blob); the cache holds the base and a layer of its own; one record leaked.
const stored: Stored = {
  snapshots: new Map([
    ['base', snapshot(100)],
    ['app', snapshot(10, 'base')],
    ['web', snapshot(20, 'base')],
    ['own', snapshot(7, 'base')],
    ['lost', snapshot(1000, 'base')],
    ['pod', snapshot(0, 'web')],
  ]),
  blobs: new Map([
    [
      'sha256:app',
      blob(1, { 'containerd.io/gc.ref.content.0': 'sha256:layer', 'containerd.io/gc.ref.snapshot.overlayfs': 'app' }),
    ],
    [
      'sha256:web',
      blob(2, { 'containerd.io/gc.ref.content.l.0': 'sha256:layer', 'containerd.io/gc.ref.snapshot.overlayfs': 'web' }),
    ],
    ['sha256:layer', blob(40)],
  ]),
  images: [
    { name: 'docker.io/team/app:1', digest: 'sha256:app', labels: {}, updatedAt: now - 50 * hour },
    { name: `sha256:${'a'.repeat(64)}`, digest: 'sha256:app', labels: {}, updatedAt: now },
    { name: 'docker.io/team/web:1', digest: 'sha256:web', labels: {}, updatedAt: now - 90 * hour },
    {
      name: 'docker.io/team/web:2',
      digest: 'sha256:web',
      labels: { 'io.cri-containerd.pinned': 'pinned' },
      updatedAt: now,
    },
  ],
  leases: [lease(id('base'), 'base'), lease(id('own'), 'own'), lease(id('lost'), 'lost'), lease('user', 'own', {})],
  containers: [{ id: 'c', image: 'docker.io/team/web:1', snapshotter: 'overlayfs', snapshotKey: 'pod', labels: {} }],
}
const books: Books = {
  stored,
  snapshotter: 'overlayfs',
  records: [
    record('base', 100, { lastUsedAt: now - 3 * hour }),
    record('own', 7, { parents: [id('base')], lastUsedAt: now - hour }),
  ],
  known: new Set([id('base'), id('own')]),
  since: 0,
  built: new Set(['docker.io/team/app:1', 'docker.io/team/web:1', 'docker.io/team/web:2']),
  now,
}
const nothing = { records: new Set<string>(), images: new Set<string>(), leases: new Set<string>() }

it.each([
  ['docker.io/team/app:1', 'docker.io/team/app'],
  ['localhost:5000/app', 'localhost:5000/app'],
  ['localhost:5000/app:1@sha256:ab', 'localhost:5000/app'],
  ['sha256:ab', 'sha256:ab'],
])('%s is of the repository %s', (name, repository) => {
  expect(repositoryOf(name)).toBe(repository)
})

describe('what removing frees', () => {
  it('is only what nothing else holds', () => {
    const app = namesToRemove(stored.images, stored.images.slice(0, 1))
    expect(app).toHaveLength(2)
    expect(freedBy(books, { ...nothing, images: new Set(app) })).toEqual({ bytes: 11, inodes: 11 })
    expect(freedBy(books, { ...nothing, images: new Set(['docker.io/team/app:1']) }).bytes, 'CRI’s name holds it').toBe(
      0,
    )
    expect(freedBy(books, { ...nothing, records: new Set([id('own')]) }).bytes, 'a lease of the user holds it').toBe(0)
    expect(freedBy(books, { ...nothing, leases: new Set([id('lost')]) })).toEqual({ bytes: 1000, inodes: 10 })
  })
  it('of a repository is its unique part', () => {
    expect(repositories(books)).toEqual([
      { repository: 'docker.io/team/web', images: 2, bytes: 162, unique: 2, built: 2, pinned: 1, inUse: 2 },
      { repository: 'docker.io/team/app', images: 1, bytes: 151, unique: 11, built: 1, pinned: 0, inUse: 0 },
    ])
  })
})

describe('an image without a name', () => {
  const layer = blob(40, { 'buildkit.io/blob/mediatype': 'x' })
  const nameless = (labels: Readonly<Record<string, string>>, marked = layer): Books => ({
    ...books,
    stored: {
      ...stored,
      images: [{ name: `sha256:${'a'.repeat(64)}`, digest: 'sha256:app', labels: {}, updatedAt: now }],
      blobs: new Map([
        ...stored.blobs,
        ['sha256:layer', marked],
        ['sha256:app', blob(1, { ...stored.blobs.get('sha256:app')?.labels, ...labels })],
      ]),
    },
  })
  const removed = (some: Books): number => removableImages(some.stored, 'overlayfs', some.built).untagged.length
  it('goes when BuildKit wrote it here', () => {
    expect(removed(nameless({}))).toBe(1)
    expect(repositories(nameless({}))).toMatchObject([{ repository: untagged, images: 1 }])
  })
  it('stays when it was pulled, or somebody else wrote it', () => {
    expect(removed(nameless({ 'containerd.io/distribution.source.docker.io': 'team/app' }))).toBe(0)
    expect(removed(nameless({}, blob(40)))).toBe(0)
  })
  it('stays while a container stands on its snapshot, whatever the container’s image is called', () => {
    const some = nameless({})
    const snapshots = new Map([...stored.snapshots, ['pod', snapshot(0, 'app')]])
    const running = { ...some.stored, snapshots }
    expect(imagesInUse(running, 'overlayfs')).toEqual(new Set(['sha256:app']))
    expect(removed({ ...some, stored: running })).toBe(0)
  })
})

describe('an image that was delivered', () => {
  const config = `sha256:${'c'.repeat(64)}`
  const named = (name: string, digest = 'sha256:app', labels = {}) => ({ name, digest, labels, updatedAt: 0 })
  /** The names that the CRI plug-in gives to what it pulls. */
  const pulled = [named('docker.io/team/app:1'), named('docker.io/team/app@sha256:app'), named(config)]
  const names = (...more: ReturnType<typeof named>[]): string[] =>
    namesToRemove([...pulled, ...more], pulled.slice(0, 1)).toSorted()
  const all = pulled.map(({ name }) => name)

  it('goes with all names that the pull made', () => {
    expect(names()).toEqual(all)
    const some = { ...books, stored: { ...stored, images: pulled } }
    expect(freedBy(some, { ...nothing, images: new Set(names()) }).bytes).toBeGreaterThan(0)
  })
  it('keeps its digest’s name while its repository has another tag of it', () => {
    expect(names(named('docker.io/team/app:2'))).toEqual(['docker.io/team/app:1'])
  })
  it('leaves names that are another’s', () => {
    expect(names(named('docker.io/other/app:1'))).toEqual(all.slice(0, 2))
    expect(names(named('docker.io/other/app@sha256:app'))).toEqual(all.slice(0, 2))
    const pinned = { 'io.cri-containerd.pinned': 'pinned' }
    const [tag, digest] = [pulled[0]!, named('docker.io/team/app@sha256:app', 'sha256:app', pinned)]
    expect(namesToRemove([tag, digest, pulled[2]!], [tag])).toEqual(['docker.io/team/app:1'])
  })
})

describe('a delivered image that lost its tag to a newer build', () => {
  const config = `sha256:${'c'.repeat(64)}`
  const digest = 'sha256:app'
  const named = (name: string, labels = {}) => ({ name, digest, labels, updatedAt: 0 })
  const built = { [builtLabel]: 'true' }
  const left = (...images: ReturnType<typeof named>[]) => {
    const { untagged } = removableImages({ ...stored, containers: [], images }, 'overlayfs', new Set())
    return untagged.length === 0 ? [] : namesToRemove(images, untagged)
  }

  it('goes with the names that its pull made', () => {
    expect(left(named(config), named('docker.io/team/app@sha256:app', built)).toSorted()).toEqual([
      'docker.io/team/app@sha256:app',
      config,
    ])
  })
  it('stays where insitu did not build it, it has a tag, or somebody pinned it', () => {
    expect(left(named(config), named('docker.io/team/app@sha256:app'))).toEqual([])
    expect(left(named(config), named('docker.io/team/app@sha256:app', built), named('docker.io/x/y:1'))).toEqual([])
    expect(
      left(named(config), named('docker.io/team/app@sha256:app', built), named('docker.io/x/y@sha256:app')),
    ).toEqual([])
    const pinned = { ...built, 'io.cri-containerd.pinned': 'pinned' }
    expect(left(named(config), named('docker.io/team/app@sha256:app', pinned))).toEqual([])
  })
})

describe('a lease has leaked', () => {
  const leaked = (change: Partial<Books>) => leakedLeases({ ...books, ...change }).map((one) => one.id)
  it('when no database knows its record', () => {
    expect(leaked({})).toEqual([id('lost')])
  })
  it('but not when the database cannot be read, it is young, or older than we are', () => {
    expect(leaked({ known: undefined })).toEqual([])
    expect(leaked({ now: now - 1.5 * hour })).toEqual([])
    expect(leaked({ since: now - hour })).toEqual([])
  })
  it('also of other compressions of a layer', () => {
    const variants = lease(`${id('gone')}-variants`, 'own', {})
    expect(leaked({ stored: { ...stored, leases: [variants] } })).toEqual([variants.id])
  })
})

describe('a request for pruning', () => {
  const chosen = (request: Parameters<typeof select>[1], some: Books = books) => {
    const { records, images, leases, temporary } = select(some, request)
    return { records: records.map((r) => r.id), images: images.map((i) => i.name), leases: leases.length, temporary }
  }
  it('takes unused cache, old files and what leaked when it names nothing', () => {
    expect(chosen({})).toEqual({ records: [id('own'), id('base')], images: [], leases: 1, temporary: true })
  })
  it('takes built images only when asked, and none that runs or is pinned', () => {
    expect(chosen({ kinds: ['image'] }).images).toEqual(['docker.io/team/app:1'])
    expect(chosen({ repositories: ['docker.io/team/app'] })).toEqual({
      records: [],
      images: ['docker.io/team/app:1'],
      leases: 0,
      temporary: false,
    })
    expect(chosen({ repositories: ['docker.io/team/web'] }).images).toEqual([])
    expect(chosen({ kinds: ['image'], unusedFor: 60 * hour }).images).toEqual([])
    expect(chosen({ kinds: ['image'] }, { ...books, built: new Set() }).images).toEqual([])
  })
  it('leaves a record that another one needs', () => {
    expect(chosen({ unusedFor: 2 * hour }).records).toEqual([])
    const used = [books.records[0], { ...record('own', 7, { parents: [id('base')] }), inUse: true }] as CacheRecord[]
    expect(chosen({}, { ...books, records: used }).records).toEqual([])
  })
  it('keeps as much as it says, least recently used first', () => {
    const records = [
      record('a', 10, { lastUsedAt: 1 }),
      record('b', 10, { lastUsedAt: 3 }),
      record('c', 10, { lastUsedAt: 2 }),
    ]
    expect(chosen({ keepBytes: 15 }, { ...books, records }).records).toEqual([id('a'), id('c')])
  })
  it('tells BuildKit the same', () => {
    expect(select(books, { kinds: ['exec.cachemount', 'frontend'], unusedFor: 5, keepBytes: 0 }).cache).toEqual({
      filters: ['type==exec.cachemount', 'type==frontend'],
      all: true,
      unusedFor: 5,
      keepBytes: 1,
    })
    expect(select(books, { kinds: ['leaked'] }).cache).toBeUndefined()
    expect(select(books, { all: true }).cache).toEqual({ all: true })
  })
  it('takes what BuildKit keeps by itself only with all', () => {
    const records = [record('f', 1, { kind: 'frontend' }), record('s', 1, { shared: true })]
    expect(chosen({}, { ...books, records }).records).toEqual([])
    expect(chosen({ all: true }, { ...books, records }).records).toHaveLength(2)
  })
})
