import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Change, judge, type Origin, originOf } from './judge.ts'
import { memoryFile, readMemory, writeMemory } from './memory-file.ts'
import { builtChanges, builtLabel, pinChanges, pinLabel, reasonLabel } from './pins.ts'
import { planPins } from './plan-pins.ts'
import type { ImageRecord, Memory, NodeImage } from './record.ts'

const target = Uint8Array.of(18, 2, 97, 98)
const day = 86_400_000
const record = (name: string, version: number, change: Partial<ImageRecord> = {}): ImageRecord => ({
  ...{
    name: `docker.io/${name}`,
    digest: `sha256:${name}`,
    version,
    target,
    arrival: 'built',
    since: version,
    lastUsed: 0,
  },
  ...change,
})
const image = (name: string, digest: string, labels: Readonly<Record<string, string>> = {}): NodeImage => ({
  ...{ name, digest, target, labels },
})

describe('pins', () => {
  const plan = (records: readonly ImageRecord[], more: Partial<Parameters<typeof planPins>[0]> = {}) =>
    Object.fromEntries(
      planPins({
        ...{
          records,
          images: records.map(({ name, digest }) => image(name, digest)),
          inUse: new Set(),
          wanted: new Set(),
        },
        ...{ ours: new Set(records.map(({ digest }) => digest)), now: 10 * day, config: { keep: 2, keepFor: 86_400 } },
        ...more,
      }),
    )

  it('are for the newest of each repository, for a time', () => {
    const versions = [9.1, 9.2, 9.3].map((at, i) => record(`team/app:${i}`, at * day))
    const old = record('team/old:1', 8 * day)
    expect(plan([...versions, old, record('team/web:1', 9.5 * day)])).toEqual({
      'docker.io/team/app:1': 'newest',
      'docker.io/team/app:2': 'newest',
      'docker.io/team/web:1': 'newest',
    })
    expect(plan(versions, { config: { keep: 0, keepFor: 86_400 } })).toEqual({})
  })

  it('count by the order of builds, and by this node’s clock how long', () => {
    const skewed = [record('a/a:1', 50 * day, { since: 9.5 * day }), record('a/a:2', 60 * day, { since: 1 * day })]
    expect(plan(skewed, { config: { keep: 1, keepFor: 86_400 } })).toEqual({})
    expect(plan(skewed)).toEqual({ 'docker.io/a/a:1': 'newest' })
  })

  it('are for what a container uses and a template names, however old', () => {
    const old = [record('a/used:1', 1), record('a/wanted:1', 1), record('a/none:1', 1)]
    expect(plan(old, { inUse: new Set(['sha256:a/used:1']), wanted: new Set(['docker.io/a/wanted:1']) })).toEqual({
      'docker.io/a/used:1': 'in-use',
      'docker.io/a/wanted:1': 'wanted',
    })
  })

  it('are for the image of a running container whose tag was built anew, and never for what insitu did not build', () => {
    const images = [image('sha256:id', 'sha256:before'), image('docker.io/library/nginx:1', 'sha256:pulled')]
    const inUse = new Set(['sha256:before', 'sha256:pulled'])
    expect(plan([], { images, inUse, ours: new Set(['sha256:before']) })).toEqual({ 'sha256:id': 'in-use' })
  })

  it('come with a word on digests that were pulled and that insitu built', () => {
    const own = record('team/app:1', 1, { digest: 'sha256:a' })
    const byDigest = image('docker.io/team/app@sha256:a', 'sha256:a')
    const images = (...all: NodeImage[]) => new Map(all.map((one) => [one.name, one]))
    const others = [image('docker.io/other/app@sha256:a', 'sha256:a'), image('docker.io/team/app@sha256:b', 'sha256:b')]
    expect(builtChanges(images(byDigest, ...others), [own])).toEqual([
      { image: byDigest, labels: { [builtLabel]: 'true' } },
    ])
    expect(builtChanges(images({ ...byDigest, labels: { [builtLabel]: 'true' } }), [own])).toEqual([])
  })

  it('are set and taken away where that changes something, and others’ are left alone', () => {
    const ours = { [pinLabel]: 'pinned', [reasonLabel]: 'newest' }
    const images = [
      image('new', 'd'),
      image('kept', 'd', ours),
      image('lost', 'd', { [reasonLabel]: 'newest' }),
      image('over', 'd', ours),
      image('pause', 'd', { [pinLabel]: 'pinned' }),
      image('shared', 'd', { [pinLabel]: 'pinned' }),
    ]
    const pins = new Map(['new', 'kept', 'lost', 'shared'].map((name) => [name, 'newest' as const]))
    expect(pinChanges(images, pins).map(({ image, labels }) => [image.name, labels])).toEqual([
      ['new', ours],
      ['lost', ours],
      ['over', { [pinLabel]: '', [reasonLabel]: '' }],
    ])
  })
})

describe('where an image comes from', () => {
  const of = (labels: Readonly<Record<string, string>>, names: readonly string[] = []) =>
    originOf({ name: 'registry.k8s.io/kube-proxy:v1', digest: 'sha256:1' }, labels, (name) => names.includes(name))
  const content = 'containerd.io/gc.ref.content'

  it.each<[string, Origin, Readonly<Record<string, string>>, string[]]>([
    [
      'a fetch from its repository',
      'pulled',
      { 'containerd.io/distribution.source.registry.k8s.io': 'pause,kube-proxy' },
      [],
    ],
    ['a fetch from another one', 'other', { 'containerd.io/distribution.source.registry.k8s.io': 'pause' }, []],
    ['a fetch from another registry', 'other', { 'containerd.io/distribution.source.docker.io': 'kube-proxy' }, []],
    ['a pull of the kubelet’s', 'pulled', {}, ['registry.k8s.io/kube-proxy@sha256:1']],
    ['a build', 'built', { [`${content}.0`]: 'a', [`${content}.1`]: 'b' }, []],
    ['an import', 'other', { [`${content}.config`]: 'a', [`${content}.l.0`]: 'b' }, []],
    ['an import of what was built here', 'other', { [`${content}.0`]: 'a', [`${content}.config`]: 'a' }, []],
    ['nothing that is known', 'other', {}, []],
  ])('%s', (_, origin, labels, names) => expect(of(labels, names)).toBe(origin))
})

describe('a name that points to something else', () => {
  const change = (
    as: 'record' | 'protected' | 'unrecorded' | undefined,
    origin: Origin,
    more: Partial<Change> = {},
  ): Change => ({
    ...{
      before: as && { digest: 'sha256:1', as },
      after: { digest: 'sha256:2', origin },
      announced: false,
      moved: false,
    },
    ...more,
  })

  it.each([
    ['is new', change(undefined, 'built'), 'accept'],
    ['is what it was', { ...change('protected', 'built'), after: { digest: 'sha256:1', origin: 'built' } }, 'accept'],
    ['was pulled anew', change('protected', 'pulled', { moved: true }), 'accept'],
    ['was imported', change('protected', 'other'), 'accept'],
    ['was tagged', change('protected', 'other', { moved: true }), 'restore'],
    ['was built past the door', change('protected', 'built'), 'restore'],
    ['was tagged with something built', change('protected', 'built', { moved: true }), 'restore'],
    ['is a build nobody recorded, again', change('unrecorded', 'built'), 'accept'],
    ['was built again by insitu', change('record', 'built', { announced: true }), 'accept'],
    ['was built again, by whom is not known yet', change('record', 'built'), 'wait'],
    ['was built by insitu and tagged', change('record', 'other', { moved: true }), 'wait'],
    ['was built by insitu and pulled from its registry', change('record', 'pulled'), 'accept'],
    ['was built by insitu and imported', change('record', 'other'), 'accept'],
  ] as const)('%s', (_, what, expected) => expect(judge(what)).toBe(expected))
})

describe('the file of records', () => {
  let directory: string
  beforeAll(async () => void (directory = await mkdtemp(join(tmpdir(), 'insitu-images-'))))
  afterAll(() => rm(directory, { recursive: true }))

  it('comes back as it was written', async () => {
    const path = join(directory, memoryFile)
    const known = { name: 'registry.k8s.io/pause:3', digest: 'sha256:p', target, built: false }
    const memory: Memory = {
      records: new Map([['docker.io/a:1', record('a:1', 5, { arrival: 'delivered' })]]),
      known: new Map([[known.name, known]]),
      wanted: new Set(['docker.io/a:1']),
    }
    await writeMemory(path, memory)
    const { memory: read, findings } = await readMemory(path, new Date())
    expect(findings).toEqual([])
    expect(read.records.get('docker.io/a:1')).toMatchObject({ version: 5, arrival: 'delivered', digest: 'sha256:a:1' })
    expect(Buffer.from(read.known.get(known.name)?.target ?? []).equals(Buffer.from(target))).toBe(true)
    expect(read.wanted).toEqual(memory.wanted)
  })

  it.each(['{', '{"format":2}', '{"format":1,"records":[{"name":"a"}],"known":[],"wanted":[]}', '[]', ''])(
    'that says %j is set aside',
    async (text) => {
      const path = join(directory, 'broken.json')
      await writeFile(path, text)
      const { memory, findings } = await readMemory(path, new Date(0))
      expect(memory.records.size).toBe(0)
      expect(findings.map(({ code }) => code)).toEqual(['IMAGE_RECORDS_SET_ASIDE'])
      expect(await readdir(directory)).toContain('broken.json.broken-1970-01-01T000000.000Z')
    },
  )

  it('that is not there means an agent that remembers nothing', async () => {
    expect(await readMemory(join(directory, 'none.json'), new Date())).toMatchObject({ findings: [] })
  })
})
