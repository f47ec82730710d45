import { describe, expect, it } from 'vitest'
import type { Build, BuildSpec } from '../../api/builds/builds.ts'
import { pullAnnotation, pulledByLabel } from '../../api/builds/on-pull.ts'
import { beyondKept } from './history.ts'
import { type Image, readImages } from './images.ts'
import { amongThese } from './read-cluster.ts'
import { rebuildOn } from './rebuild-one.ts'
import { labelOf, type RebuildOn, successorOf } from './successor.ts'
import { type BuildSketch, builtOn, sha, sketchBuild } from '../../../test/unit/rebuild-sketch.ts'

const imageOf = (...builds: readonly Build[]): Image => readImages(builds, new Map())[0]!
const on: RebuildOn = { pins: [{ name: 'r.io/os:1', digest: sha('1') }], released: [], attempt: 1 }
const kept = 'kubectl.kubernetes.io/last-applied-configuration'
/** What a pull from node-1 of a Build that waits began. */
function pulledBy(waits: string, sketch: BuildSketch = {}): Build {
  const pull = { name: 'r.io/lazy:1', names: ['r.io/lazy:1'], platforms: ['linux/amd64'], generation: 1, failures: 0 }
  const build = builtOn(
    `${waits}-0123456789`,
    sha('a'),
    { os: sha('0') },
    {
      ...{ labels: { [pulledByLabel]: `uid-${waits}` }, ...sketch },
      annotations: { [pullAnnotation]: JSON.stringify({ ...pull, asked: 'node-1' }) },
    },
  )
  const owner = { apiVersion: 'insitu.build/v1alpha1', kind: 'Build', name: waits, uid: `uid-${waits}` }
  return { ...build, metadata: { ...build.metadata, ownerReferences: [owner] } }
}

describe('the Build that does another one again', () => {
  it('has its spec, owners and labels, the new bases, and says whose rebuild it is', () => {
    const attestations = { provenance: 'Max', sbom: {} } as const
    const output = { names: ['r.io/app:1'], push: true, labels: { team: 'a' }, attestations }
    const build = builtOn(
      'app',
      sha('a'),
      { os: sha('0') },
      {
        ...{ labels: { team: 'a' }, annotations: { note: 'x', [kept]: '{}' } },
        spec: { trigger: 'Now', noCache: true, output, bases: [{ name: 'r.io/tools:1', digest: sha('2') }] },
      },
    )
    const next = successorOf(imageOf(build), on)
    expect(next.metadata?.name).toMatch(/^app-[0-9a-f]{10}$/)
    expect(next.metadata?.labels).toEqual({ team: 'a', 'insitu.build/rebuild-of': 'app' })
    expect(next.metadata?.annotations).toEqual({
      ...{ note: 'x', 'insitu.build/rebuild-of': 'app', 'insitu.build/rebuilt-on': 'r.io/os:1' },
    })
    expect(next.spec).toEqual({
      ...{ source: { dockerfile: 'FROM scratch' }, noCache: true, output },
      bases: [{ name: 'r.io/tools:1', digest: sha('2') }, ...on.pins],
    })
  })

  it('has nothing by which a tool that deploys the other one would take it for its own, and delete it', () => {
    const theirs = {
      'argocd.argoproj.io/tracking-id': 'app:insitu.build/Build:n/app',
      'kustomize.toolkit.fluxcd.io/name': 'apps',
      'helm.toolkit.fluxcd.io/namespace': 'flux-system',
      'meta.helm.sh/release-name': 'app',
    }
    const build = builtOn(
      'app',
      sha('a'),
      { os: sha('0') },
      {
        labels: { ...theirs, 'app.kubernetes.io/instance': 'apps', 'app.kubernetes.io/name': 'app' },
        annotations: { ...theirs, note: 'x' },
      },
    )
    const { labels, annotations } = successorOf(imageOf(build), on).metadata ?? {}
    expect(labels).toEqual({ 'app.kubernetes.io/name': 'app', 'insitu.build/rebuild-of': 'app' })
    expect(Object.keys(annotations ?? {})).toEqual(['note', 'insitu.build/rebuild-of', 'insitu.build/rebuilt-on'])
  })

  it('is selected with the one that it is of, whatever labels it has', () => {
    const build = builtOn('app', sha('a'), { os: sha('0') }, { labels: { 'app.kubernetes.io/instance': 'apps' } })
    const next = imageOf({ ...successorOf(imageOf(build), on), status: { phase: 'Succeeded' } })
    expect(next.build.metadata?.labels).not.toHaveProperty('app.kubernetes.io/instance')
    expect(amongThese([build])(next)).toBe(true)
    expect(amongThese([builtOn('other', sha('a'), {})])(next)).toBe(false)
  })

  it('is the same one for the same work, and another for other bases or after a failure', () => {
    const image = imageOf(builtOn('app', sha('a'), { os: sha('0') }))
    const name = (more: Partial<RebuildOn>) => successorOf(image, { ...on, ...more }).metadata?.name
    expect(name({})).toBe(name({}))
    expect(name({ attempt: 2 })).toBe(`${name({})}-2`)
    expect(name({ pins: [{ name: 'r.io/os:1', digest: sha('2') }] })).not.toBe(name({}))
  })

  it('may be rebuilt itself: its own pins are no author’s', () => {
    const first = builtOn('app', sha('a'), { os: sha('0') })
    const second = { ...successorOf(imageOf(first), on) }
    const stands = imageOf(first, {
      ...second,
      metadata: { ...second.metadata, uid: 'u', creationTimestamp: '2026-01-02T00:00:00Z' },
      status: { phase: 'Succeeded', digest: sha('b'), bases: [{ name: 'r.io/os:1', digest: sha('1') }] },
    })
    expect(stands).toMatchObject({ digest: sha('b'), bases: [{ name: 'r.io/os:1', pinned: false }] })
    const third = successorOf(stands, { ...on, pins: [{ name: 'r.io/os:1', digest: sha('3') }] })
    expect(third.spec.bases).toEqual([{ name: 'r.io/os:1', digest: sha('3') }])
    expect(third.metadata?.annotations?.['insitu.build/rebuild-of']).toBe('app')
    expect(third.metadata?.name).toMatch(/^app-[0-9a-f]{10}$/)
  })

  it('takes the commit that was built, whatever the branch is now', () => {
    const git = { url: 'https://h/a.git', revision: 'main', subPath: 'x' }
    const build = builtOn('app', sha('a'), {}, { spec: { source: { git } }, status: { commit: 'c0ffee' } })
    expect(successorOf(imageOf(build), on).spec.source).toEqual({ git: { ...git, revision: 'c0ffee' } })
  })

  it('goes to the node that has a base which is in no registry', () => {
    const base = builtOn('tool', sha('a'), {}, { spec: { output: { names: ['r.io/tool:1'] } } })
    const made = new Map([['r.io/tool:1', { image: imageOf(base), digest: sha('b'), node: 'node-2' }]])
    const moved = [{ name: 'r.io/tool:1', from: sha('a'), to: sha('b') }]
    expect(rebuildOn(moved, made)).toEqual({ pins: [], released: ['r.io/tool:1'], node: 'node-2' })
    const user = imageOf(builtOn('report', sha('c'), { tool: sha('a') }))
    expect(successorOf(user, { ...rebuildOn(moved, made), attempt: 1 }).spec).toMatchObject({ node: 'node-2' })
    const said = imageOf(builtOn('report', sha('c'), { tool: sha('a') }, { spec: { for: 'deploy/web' } }))
    expect(successorOf(said, { ...rebuildOn(moved, made), attempt: 1 }).spec.node).toBeUndefined()
  })

  it('goes where the base is now, not where it was for the rebuild before, unless its author names a node', () => {
    const stays = (node: string | undefined): RebuildOn => ({ ...on, node, pins: [], released: ['r.io/tool:1'] })
    const again = (former: Build): Image =>
      imageOf({ ...former, metadata: { ...former.metadata, uid: 'r' }, status: { phase: 'Succeeded' } })
    const written = imageOf(builtOn('report', sha('c'), { tool: sha('a') }))
    const first = successorOf(written, stays('node-1'))
    expect(first).toMatchObject({
      metadata: { annotations: { 'insitu.build/rebuilt-at': 'node-1' } },
      spec: { node: 'node-1' },
    })
    const second = successorOf(again(first), stays('node-2'))
    expect(second).toMatchObject({
      metadata: { annotations: { 'insitu.build/rebuilt-at': 'node-2' } },
      spec: { node: 'node-2' },
    })
    const pushed = successorOf(again(second), on)
    expect(pushed.spec).not.toHaveProperty('node')
    expect(pushed.metadata?.annotations).not.toHaveProperty('insitu.build/rebuilt-at')

    const said = successorOf(imageOf(builtOn('report', sha('c'), {}, { spec: { node: 'node-3' } })), stays('node-1'))
    for (const one of [said, successorOf(again(said), stays('node-2'))]) {
      expect(one.spec.node).toBe('node-3')
      expect(one.metadata?.annotations).not.toHaveProperty('insitu.build/rebuilt-at')
    }
  })

  it('of one that a pull began goes anywhere, unless the Build that waits names the node that asked', () => {
    const waits = (own: Partial<BuildSpec>) => sketchBuild('lazy', { spec: { trigger: 'OnPull', ...own } })
    const pulled = pulledBy('lazy', { spec: { node: 'node-1' } })
    expect(successorOf(imageOf(waits({}), pulled), on).spec).not.toHaveProperty('node')
    expect(successorOf(imageOf(waits({ node: 'node-1' }), pulled), on).spec.node).toBe('node-1')
    // Nobody knows any more who has named it.
    expect(successorOf(imageOf(pulled), on).spec.node).toBe('node-1')
    expect(successorOf(imageOf(waits({}), pulledBy('lazy', { spec: { node: 'node-2' } })), on).spec.node).toBe('node-2')
  })

  it('of one that a pull began is of no pull, and goes with that one', () => {
    const pulled = pulledBy('lazy')
    const next = successorOf(imageOf(pulled), on)
    expect(next.metadata?.labels).toEqual({ 'insitu.build/rebuild-of': 'lazy-0123456789' })
    expect(Object.keys(next.metadata?.annotations ?? {})).toEqual([
      'insitu.build/rebuild-of',
      'insitu.build/rebuilt-on',
    ])
    const { name, uid } = pulled.metadata ?? {}
    const owners = [{ apiVersion: 'insitu.build/v1alpha1', kind: 'Build', name, uid }]
    expect(next.metadata?.ownerReferences).toEqual(owners)
    // It stands for the image now, and is rebuilt like others.
    const digest = sha('b')
    const metadata = { ...next.metadata, uid: 'r', creationTimestamp: '2026-01-02T00:00:00Z' }
    const stands = imageOf(pulled, { ...next, metadata, status: { phase: 'Succeeded', digest } })
    expect(stands).toMatchObject({ digest, build: { metadata: { uid: 'r' } }, names: ['r.io/lazy-0123456789:1'] })
    expect(successorOf(stands, on).metadata?.ownerReferences).toEqual(owners)
  })

  it('has a label whatever the name is', () => {
    expect(labelOf('a'.repeat(63))).toHaveLength(63)
    expect(labelOf(`${'a'.repeat(51)}.${'b'.repeat(60)}`)).toMatch(/^a{51}-[0-9a-f]{10}$/)
  })
})

describe('which Build stands for an image', () => {
  it('is the newest that succeeded; rebuilds that failed never do', () => {
    const label = { 'insitu.build/rebuild-of': 'app' }
    const names = { output: { names: ['r.io/app:1'] } }
    const builds = [
      builtOn('app', sha('a'), { os: sha('0') }),
      builtOn('app-1', sha('b'), { os: sha('1') }, { second: 1, labels: label, spec: names }),
      sketchBuild('app-2', { second: 2, labels: label, spec: names, status: { phase: 'Failed', completionTime: 'x' } }),
    ]
    expect(readImages(builds, new Map()).map(({ id }) => id)).toEqual(['n/app-1'])
    expect(readImages(builds.slice(2), new Map())).toEqual([])
    const waits = builtOn('waits', sha('a'), { os: sha('0') }, { spec: { trigger: 'OnPull' } })
    expect(readImages([waits], new Map())).toEqual([])
  })

  it('knows of bases from the Dockerfile where nothing was built, and nothing of a repository', () => {
    const inline = { source: { dockerfile: 'ARG V=1\nFROM r.io/os:$V' }, args: [{ name: 'V', value: '2' }] }
    expect(imageOf(sketchBuild('a', { spec: inline })).bases).toEqual([
      { name: 'r.io/os:2', digest: undefined, pinned: false },
    ])
    expect(imageOf(sketchBuild('a', { spec: { source: { git: { url: 'https://h/a' } } } })).bases).toBeUndefined()
  })
})

describe('rebuilds that go', () => {
  const rebuild = (name: string, second: number, phase: 'Succeeded' | 'Failed') =>
    sketchBuild(name, {
      ...{ second, labels: { 'insitu.build/rebuild-of': 'app' }, annotations: { 'insitu.build/rebuild-of': 'app' } },
      status: { phase, completionTime: '2026-01-01T00:00:09Z' },
    })
  it('are the oldest, never the newest that succeeded, never what somebody wrote, never what runs', () => {
    const builds = [
      builtOn('app', sha('a'), {}),
      ...[rebuild('r1', 1, 'Succeeded'), rebuild('r2', 2, 'Succeeded'), rebuild('r3', 3, 'Failed')],
      ...[rebuild('r4', 4, 'Failed'), { ...rebuild('r5', 5, 'Failed'), status: { phase: 'Running' } as const }],
    ]
    expect(beyondKept(builds, 2).map(({ metadata }) => metadata?.name)).toEqual(['r1'])
    expect(beyondKept(builds, 1).map(({ metadata }) => metadata?.name)).toEqual(['r3', 'r1'])
  })
})
