import { describe, expect, it } from 'vitest'
import type { Build, BuildSpec, BuildStatus, BuildTemplate } from '../../api/builds/builds.ts'
import { type Demand, demandKey, demandsOf, refusedAnnotation, unservedAnnotation } from '../../api/builds/on-pull.ts'
import type { Action } from '../build/actions.ts'
import { plan } from '../plan.ts'
import type { View } from '../view.ts'

const limits = { perNamespace: 20, perNode: 20 }
const amd64 = 'linux/amd64'
const commit = (digit: string): string => digit.repeat(40)
const app = 'images.internal/app:v1'

/** Builds in memory; what is planned for those that wait for pulls is done, in any order and as often as asked. */
function simulate() {
  const builds = new Map<string, Build>()
  let clock = Date.parse('2026-01-01T00:00:00Z')
  let made = 0
  const key = ({ metadata }: Build): string => `${metadata?.namespace}/${metadata?.name}`
  const templates = new Map<string, BuildTemplate>()
  const view = (): View => ({
    ...{ builds: [...builds.values()], templates, jobs: new Map(), pods: new Map(), buildNodes: 2 },
  })
  const store = (build: Build, generation: number): void => {
    made += 1
    const metadata = { uid: `uid-${made}`, creationTimestamp: new Date(clock).toISOString(), generation }
    builds.set(key(build), { ...build, metadata: { ...metadata, ...build.metadata } })
  }
  const change = (name: string, to: (build: Build) => Build): void => {
    const build = builds.get(name)
    if (build) builds.set(name, to(build))
  }
  const events: string[] = []
  const act = (action: Action): void => {
    const name = key(action.build)
    switch (action.kind) {
      case 'status':
        if (action.event) events.push(`${action.event.reason}: ${action.event.message}`)
        return change(name, (build) => ({ ...build, status: action.status }))
      case 'createBuild':
        if (!builds.has(key(action.made))) store(action.made, 1)
        return
      case 'forget':
        return change(name, (build) => {
          const left = Object.entries(build.metadata?.annotations ?? {}).filter(
            ([k]) => !action.annotations.includes(k),
          )
          return { ...build, metadata: { ...build.metadata, annotations: Object.fromEntries(left) } }
        })
      case 'deleteBuild':
        return void builds.delete(name)
      case 'createCleanJob':
      case 'createJob':
      case 'deleteJob':
      case 'deletePod':
      case 'explainNoPod':
      case 'finalizer':
      case 'unlessJob':
    }
  }
  const own = (): Build[] => [...builds.values()].filter(({ metadata }) => metadata?.ownerReferences !== undefined)
  return {
    builds,
    templates,
    events,
    own,
    change,
    add(name: string, spec: Partial<BuildSpec>, metadata: object = {}): void {
      const [namespace = '', short = ''] = name.split('/')
      const source = { dockerfile: 'FROM a' }
      const all = { source, trigger: 'OnPull', output: { names: [app] }, ...spec }
      const full = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as BuildSpec
      store({ metadata: { namespace, name: short, ...metadata }, spec: full }, 1)
    },
    demand(name: string, demand: Partial<Demand> & { readonly name: string }): void {
      const whole: Demand = { asked: 'n1', platform: amd64, at: new Date(clock).toISOString(), ...demand }
      change(name, (build) => {
        const annotations = {
          ...build.metadata?.annotations,
          [demandKey(whole.name, whole.platform)]: JSON.stringify(whole),
        }
        return { ...build, metadata: { ...build.metadata, annotations } }
      })
    },
    /** How the Builds of pulls end that go on. */
    end(phase: 'Succeeded' | 'Failed', status: Partial<BuildStatus> = {}): void {
      for (const build of own()) {
        if (build.status?.completionTime !== undefined) continue
        const completionTime = new Date(clock).toISOString()
        builds.set(key(build), { ...build, status: { phase, completionTime, ...status } })
      }
    },
    advance: (seconds: number) => void (clock += seconds * 1000),
    planned: () => plan(view(), limits, new Date(clock)).work.flat(),
    look(): void {
      for (const action of plan(view(), limits, new Date(clock)).work.flat()) act(action)
    },
    condition: (name: string, type: string) =>
      builds.get(name)?.status?.conditions?.find((condition) => condition.type === type),
    demands: (name: string) => demandsOf(builds.get(name)?.metadata?.annotations).size,
  }
}

describe('a Build that waits for a pull', () => {
  it('says what it waits for, and does nothing', () => {
    const world = simulate()
    world.add('a/app', { output: { names: ['app', 'app:v2'], push: true }, serviceAccountName: 'builder' })
    for (let i = 0; i < 3; i += 1) world.look()
    expect(world.builds.get('a/app')?.status).toMatchObject({
      phase: 'WaitingForPull',
      pulls: {
        names: ['docker.io/library/app:latest', 'docker.io/library/app:v2'],
        serviceAccountName: 'builder',
        pushes: true,
      },
    })
    expect(world.condition('a/app', 'Accepted')?.status).toBe('True')
    expect(world.own()).toEqual([])
    expect(world.planned()).toEqual([])
  })

  it('becomes one Build on the node that asked, however many ask and however often it is looked at', () => {
    const world = simulate()
    world.add('a/app', { timeout: '5m' })
    world.look()
    world.demand('a/app', { name: app })
    // A controller that sees late what it did plans the same Build again.
    const twice = [...world.planned(), ...world.planned()].filter(({ kind }) => kind === 'createBuild')
    expect(new Set(twice.map((a) => a.kind === 'createBuild' && a.made.metadata?.name)).size).toBe(1)
    world.look()
    world.demand('a/app', { name: app, asked: 'n2' })
    for (let i = 0; i < 3; i += 1) world.look()
    expect(world.own()).toHaveLength(1)
    expect(world.own()[0]?.spec).toMatchObject({
      node: 'n1',
      platforms: [amd64],
      timeout: '5m',
      output: { names: [app] },
    })
    expect(world.own()[0]?.spec).not.toHaveProperty('trigger')
    expect(world.demands('a/app')).toBe(0)
    expect(world.events.join()).toContain(`node n1 pulls ${app}`)
  })

  it('is placed by the rules where the node that asked cannot build, or where somebody said where', () => {
    for (const [spec, demand, node] of [
      [{}, { elsewhere: 'is cordoned' }, undefined],
      [{ node: 'n7' }, {}, 'n7'],
      [{ for: 'deploy/web' }, {}, undefined],
    ] as const) {
      const world = simulate()
      world.add('a/app', spec)
      world.look()
      world.demand('a/app', { name: app, ...demand })
      world.look()
      expect(world.own()[0]?.spec.node).toBe(node)
      world.look()
      expect(world.events.join().includes('because that is cordoned')).toBe('elsewhere' in demand)
    }
  })

  it('is one Build for the platforms of all nodes that ask, and then for those that asked before as well', () => {
    const world = simulate()
    world.add('a/app', {})
    world.look()
    world.demand('a/app', { name: app })
    world.demand('a/app', { name: app, asked: 'n3', platform: 'linux/arm64' })
    world.look()
    expect(world.own().map(({ spec }) => [spec.platforms, spec.node])).toEqual([[[amd64, 'linux/arm64'], undefined]])

    const later = simulate()
    later.add('a/app', {})
    later.look()
    later.demand('a/app', { name: app })
    later.look()
    later.advance(10)
    later.end('Succeeded')
    later.advance(10)
    later.demand('a/app', { name: app, asked: 'n3', platform: 'linux/arm64' })
    later.look()
    expect(later.own().map(({ spec }) => spec.platforms)).toEqual([[amd64], [amd64, 'linux/arm64']])
    // The name still serves the nodes of before, whatever became of the one between.
    later.end('Failed')
    later.advance(600)
    later.demand('a/app', { name: app, asked: 'n3', platform: 'linux/arm64' })
    later.look()
    expect(later.own().at(-1)?.spec.platforms).toEqual([amd64, 'linux/arm64'])
    expect(later.own()).toHaveLength(3)
  })

  it('is built again when a node asks after the end, and not for what was asked before', () => {
    const world = simulate()
    world.add('a/app', {})
    world.look()
    world.demand('a/app', { name: app })
    world.look()
    world.advance(10)
    world.end('Succeeded', { digest: 'sha256:1' })
    world.look()
    expect(world.builds.get('a/app')?.status).toMatchObject({ phase: 'Succeeded', digest: 'sha256:1' })
    world.demand('a/app', { name: app, at: '2026-01-01T00:00:05Z' })
    world.look()
    world.look()
    expect([world.own().length, world.demands('a/app')]).toEqual([1, 0])
    world.advance(100)
    world.demand('a/app', { name: app })
    world.look()
    expect(world.own()).toHaveLength(2)
  })

  it('that fails is not tried again at once, later less and less often, and at once when it was changed', () => {
    const world = simulate()
    world.add('a/app', {})
    world.look()
    const starts: number[] = []
    for (let second = 0; second < 600; second += 10) {
      world.demand('a/app', { name: app })
      const before = world.own().length
      world.look()
      if (world.own().length > before) starts.push(second)
      world.end('Failed', { message: 'exit code: 3' })
      world.look()
      world.advance(10)
    }
    expect(starts).toEqual([0, 30, 90, 210, 450])
    expect(world.events.filter((text) => text.includes('exit code: 3')).length).toBeGreaterThan(0)
    world.change('a/app', (build) => ({ ...build, metadata: { ...build.metadata, generation: 2 } }))
    world.demand('a/app', { name: app })
    const before = world.own().length
    world.look()
    expect(world.own().length).toBe(before + 1)
  })

  it('takes the revision from the tag, and nothing else', () => {
    const world = simulate()
    const git = { url: 'https://git.example.com/a.git' }
    const args = [{ name: 'COMMIT', value: '${REVISION}' }]
    const attestations = { provenance: 'Min' } as const
    const output = {
      ...{ names: ['images.internal/app:git-${REVISION}'], attestations },
      labels: { commit: '${REVISION}', '${REVISION}': 'x' },
    }
    world.add('a/app', { source: { git }, args, output, noCache: true })
    world.look()
    for (const tag of [`git-${commit('a')}`, 'git-main', 'git---upload-pack=x', 'v1']) {
      world.demand('a/app', { name: `images.internal/app:${tag}` })
    }
    world.demand('a/app', { name: 'images.internal/other:1' })
    world.look()
    expect(world.own().map(({ spec }) => spec)).toMatchObject([
      {
        source: { git: { ...git, revision: commit('a') } },
        args: [{ name: 'COMMIT', value: commit('a') }],
        output: {
          ...{ names: [`images.internal/app:git-${commit('a')}`], attestations },
          labels: { commit: commit('a'), '${REVISION}': 'x' },
        },
        noCache: true,
      },
    ])
    world.look()
    expect(world.demands('a/app')).toBe(0)
  })

  it('builds so many revisions at once, and keeps so many that have ended', () => {
    const world = simulate()
    const spec = { source: { git: { url: 'https://h/a.git' } }, onPull: { atOnce: 2, keep: 3 } }
    world.add('a/app', { ...spec, output: { names: ['images.internal/app:${REVISION}'] } })
    world.look()
    for (const digit of '0123456789') world.demand('a/app', { name: `images.internal/app:${commit(digit)}` })
    const built = new Set<string>()
    for (let i = 0; i < 20; i += 1) {
      world.look()
      const going = world.own().filter(({ status }) => status?.completionTime === undefined)
      expect(going.length).toBeLessThanOrEqual(2)
      for (const {
        spec: { source },
      } of going)
        built.add(source?.git?.revision ?? '')
      world.advance(2)
      world.end('Succeeded')
    }
    expect(built.size).toBe(10)
    expect(world.own()).toHaveLength(3)
  })

  it('does not take the names of an older one, unless the policy refuses that one its names', () => {
    const world = simulate()
    world.add('a/squatter', {
      output: { names: ['images.internal/app:${REVISION}'] },
      source: { git: { url: 'https://h/a.git' } },
    })
    world.advance(5)
    world.add('b/app', {})
    for (let i = 0; i < 2; i += 1) world.look()
    expect(world.condition('b/app', 'Accepted')).toMatchObject({ status: 'False', reason: 'NameTaken' })
    expect(world.condition('b/app', 'Accepted')?.message).toContain('a/squatter')
    world.change('a/squatter', (build) => {
      const annotations = { [refusedAnnotation]: 'the name is not allowed' }
      return { ...build, metadata: { ...build.metadata, annotations } }
    })
    world.look()
    expect(world.condition('b/app', 'Accepted')).toMatchObject({ status: 'True' })
    expect(world.condition('a/squatter', 'Accepted')).toMatchObject({
      reason: 'NotAllowed',
      message: 'the name is not allowed',
    })
  })

  it('says which node cannot have its image, once, and no more when that is over', () => {
    const world = simulate()
    world.add('a/app', {})
    const say = (annotations: Readonly<Record<string, string>>) => {
      world.change('a/app', (build) => ({ ...build, metadata: { ...build.metadata, annotations } }))
      for (let i = 0; i < 2; i += 1) world.look()
      return world.condition('a/app', 'Accepted')
    }
    const message = 'node n1 wants it and builds rootless'
    expect(say({ [unservedAnnotation]: message })).toMatchObject({ status: 'True', reason: 'NotServed', message })
    expect(world.events).toEqual([`NotServed: ${message}`])
    expect(say({})).toMatchObject({ status: 'True', reason: 'NamesClaimed' })
    expect(world.events).toHaveLength(1)
    expect(world.own()).toEqual([])
  })

  it('takes what its template says, and its Builds need the template no more', () => {
    const world = simulate()
    const source = { git: { url: 'https://h/${REPO}.git' } }
    world.templates.set('BuildTemplate/a/any', {
      spec: {
        parameters: [{ name: 'REPO' }],
        source,
        output: { names: ['h.test/${REPO}:${REVISION}'] },
        timeout: '7m',
      },
    })
    const template = { name: 'any', arguments: [{ name: 'REPO', value: 'web' }] }
    world.add('a/app', { template, source: undefined, output: undefined })
    world.look()
    expect(world.builds.get('a/app')?.status?.pulls?.names).toEqual(['h.test/web:${REVISION}'])
    world.demand('a/app', { name: `h.test/web:${commit('b')}` })
    world.look()
    expect(world.own()[0]?.spec).toMatchObject({
      source: { git: { url: 'https://h/web.git', revision: commit('b') } },
      ...{ output: { names: [`h.test/web:${commit('b')}`] }, timeout: '7m' },
    })
    expect(world.own()[0]?.spec).not.toHaveProperty('template')
  })

  it('that is cancelled is pulled no more, and what goes on ends', () => {
    const world = simulate()
    world.add('a/app', {})
    world.look()
    world.demand('a/app', { name: app })
    world.look()
    world.change('a/app', (build) => ({ ...build, spec: { ...build.spec, cancelled: true } }))
    world.look()
    expect(world.own()).toEqual([])
    expect(world.builds.get('a/app')?.status).toMatchObject({ phase: 'Cancelled' })
    expect(world.builds.get('a/app')?.status).not.toHaveProperty('pulls')
  })

  it('whose template is not there, or says what cannot be, claims no name', () => {
    const world = simulate()
    world.add('a/waits', { template: { name: 'none' } })
    world.add('a/mixed', {
      output: { names: ['h/a:1', 'h/a:${REVISION}'] },
      source: { git: { url: 'https://h/a.git' } },
    })
    world.add('a/context', { output: { names: ['h/b:${REVISION}'] } })
    world.look()
    for (const [name, reason] of [
      ['a/waits', 'TemplateNotFound'],
      ['a/mixed', 'InvalidSpec'],
      ['a/context', 'InvalidSpec'],
    ] as const) {
      expect(world.condition(name, 'Accepted')).toMatchObject({ status: 'False', reason })
      expect(world.builds.get(name)?.status).not.toHaveProperty('pulls')
    }
  })
})
