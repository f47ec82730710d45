import { describe, expect, it } from 'vitest'
import type { Build, BuildSpec } from '../api/builds/builds.ts'
import type { Action } from './build/actions.ts'
import { jobName } from './build/names.ts'
import { plan } from './plan.ts'
import type { Limits } from './queue/turns.ts'
import type { JobView, PodView } from './view.ts'

/** A cluster in memory that does what is planned. */
function simulate(limits: Limits, buildNodes = 2) {
  const builds = new Map<string, Build>()
  const jobs = new Map<string, JobView>()
  const pods = new Map<string, readonly PodView[]>()
  const made: string[] = []
  let clock = Date.parse('2026-01-01T00:00:00Z')
  const key = ({ metadata }: Build): string => `${metadata?.namespace}/${metadata?.name}`

  const act = (action: Action): void => {
    const { build } = action
    const now = builds.get(key(build))
    if (now === undefined) return
    switch (action.kind) {
      case 'status':
        return void builds.set(key(build), { ...now, status: action.status })
      case 'createJob': {
        const { namespace = '', uid = '' } = build.metadata ?? {}
        const job = jobName(build, action.attempt)
        if (jobs.has(`${namespace}/${job}`)) throw new Error(`a second Job ${job}`)
        made.push(key(build))
        const view = { namespace, name: job, buildUid: uid, role: 'build', deleting: false, reason: undefined }
        return void jobs.set(`${namespace}/${job}`, { ...view, state: 'active' })
      }
      case 'deleteJob':
        return void jobs.delete(`${build.metadata?.namespace}/${action.name}`)
      case 'deleteBuild':
        return void builds.delete(key(build))
      case 'finalizer':
      case 'createCleanJob':
        throw new Error(`no claim, and yet ${action.kind}`)
    }
  }

  return {
    builds,
    jobs,
    made,
    add(namespace: string, name: string, spec: Partial<BuildSpec> = {}): void {
      const metadata = { namespace, name, uid: name, creationTimestamp: new Date(clock).toISOString() }
      builds.set(`${namespace}/${name}`, { metadata, spec: { source: { dockerfile: 'FROM a' }, ...spec } })
    },
    finish(job: string, state: 'complete' | 'failed' = 'complete'): void {
      const found = jobs.get(job)
      if (found) jobs.set(job, { ...found, state })
    },
    advance: (seconds: number) => void (clock += seconds * 1000),
    look(): void {
      const view = { builds: [...builds.values()], templates: new Map(), jobs, pods, buildNodes }
      for (const actions of plan(view, limits, new Date(clock)).work) for (const action of actions) act(action)
    },
  }
}

describe('a plan', () => {
  it('works off a thousand Builds in order, within the limits, each once', () => {
    const limits = { perNamespace: 12, perNode: 10 }
    const world = simulate(limits)
    for (let i = 0; i < 500; i += 1) for (const namespace of ['a', 'b']) world.add(namespace, `${namespace}-${i}`)
    for (let looks = 0; looks < 400; looks += 1) {
      world.look()
      const active = [...world.jobs.values()].filter(({ state }) => state === 'active')
      expect(active.length).toBeLessThanOrEqual(20)
      for (const namespace of ['a', 'b']) {
        expect(active.filter((job) => job.namespace === namespace).length).toBeLessThanOrEqual(limits.perNamespace)
      }
      // Half of what runs ends, the newest first: the order does not depend on it.
      for (const job of active.slice(-Math.ceil(active.length / 2))) world.finish(`${job.namespace}/${job.name}`)
      world.advance(1)
      if (world.made.length === 1000 && active.length === 0) break
    }
    world.look()
    expect([...world.builds.values()].every(({ status }) => status?.phase === 'Succeeded')).toBe(true)
    for (const namespace of ['a', 'b']) {
      const order = world.made.filter((name) => name.startsWith(`${namespace}/`))
      expect(order).toEqual(Array.from({ length: 500 }, (_, i) => `${namespace}/${namespace}-${i}`))
    }
  }, 60_000)

  it('says nothing twice: what is as it should be gets no write', () => {
    const world = simulate({ perNamespace: 1, perNode: 1 })
    world.add('a', 'one')
    world.add('a', 'two')
    for (let i = 0; i < 4; i += 1) world.look()
    const before = JSON.stringify([...world.builds])
    world.look()
    expect(JSON.stringify([...world.builds])).toBe(before)
    expect(world.builds.get('a/two')?.status?.message).toContain('1 Builds of namespace a run already')
  })

  it('takes Job and Build away when their time has come, and not before', () => {
    const world = simulate({ perNamespace: 1, perNode: 1 })
    world.add('a', 'one', { cleanUp: { pod: '1m', build: '1h' } })
    for (let i = 0; i < 3; i += 1) world.look()
    world.finish([...world.jobs.keys()][0] ?? '')
    for (const [seconds, jobs, builds] of [
      [0, 1, 1],
      [59, 1, 1],
      [2, 0, 1],
      [3500, 0, 1],
      [100, 0, 0],
    ] as const) {
      world.advance(seconds)
      world.look()
      world.look()
      expect([seconds, world.jobs.size, world.builds.size]).toEqual([seconds, jobs, builds])
    }
  })

  it('tries a lost pod again within its timeout and retries, and then says what was lost', () => {
    const world = simulate({ perNamespace: 1, perNode: 1 })
    world.add('a', 'one', { retries: 1 })
    for (const attempt of [1, 2]) {
      for (let i = 0; i < 3; i += 1) world.look()
      expect(world.builds.get('a/one')?.status?.attempt).toBe(attempt)
      world.finish(`a/one-one-${attempt}`, 'failed')
      world.look()
    }
    expect(world.made).toEqual(['a/one', 'a/one'])
    expect(world.builds.get('a/one')?.status).toMatchObject({
      ...{ phase: 'Failed', message: 'the pod of attempt 2 is gone' },
    })
  })
})
