import { describe, expect, it } from 'vitest'
import type { Build, BuildSpec, BuildTemplate } from '../api/builds/builds.ts'
import { workspaceFinalizer } from '../api/builds/work.ts'
import type { Action } from './build/actions.ts'
import { jobName } from './build/names.ts'
import { type PodRefusal, withoutPod } from './build/refused.ts'
import { type Plan, plan } from './plan.ts'
import type { Limits } from './queue/turns.ts'
import type { JobView, PodView } from './view.ts'

/** A cluster in memory that does what is planned. */
function simulate(limits: Limits, buildNodes = 2) {
  const builds = new Map<string, Build>()
  const jobs = new Map<string, JobView>()
  const pods = new Map<string, readonly PodView[]>()
  const templates = new Map<string, BuildTemplate>()
  const refusals: PodRefusal[] = []
  /** Jobs that are there and not yet in the picture that decisions are made of. */
  const unseen = new Set<string>()
  const made: string[] = []
  let failed: Plan['failures'] = []
  let clock = Date.parse('2026-01-01T00:00:00Z')
  const key = ({ metadata }: Build): string => `${metadata?.namespace}/${metadata?.name}`

  const act = (action: Action): void => {
    const { build } = action
    const now = builds.get(key(build))
    if (now === undefined && action.kind !== 'deletePod') return
    switch (action.kind) {
      case 'status':
        return void (now && builds.set(key(build), { ...now, status: action.status }))
      case 'createJob': {
        const { namespace = '', uid = '' } = build.metadata ?? {}
        const job = jobName(build, action.attempt)
        if (jobs.has(`${namespace}/${job}`)) throw new Error(`a second Job ${job}`)
        made.push(key(build))
        const view = { namespace, name: job, buildUid: uid, role: 'build', deleting: false, reason: undefined }
        return void jobs.set(`${namespace}/${job}`, { ...view, state: 'active', createdAt: clock })
      }
      case 'explainNoPod': {
        const said = withoutPod({ ...build, status: action.status }, { job: action.job, refusals }, new Date(clock))
        return void (now && builds.set(key(build), { ...now, status: said }))
      }
      case 'unlessJob':
        if (!jobs.has(`${build.metadata?.namespace}/${action.job}`)) action.otherwise.forEach(act)
        return
      case 'deleteJob':
        return void jobs.delete(`${build.metadata?.namespace}/${action.name}`)
      case 'deletePod':
        for (const [at, some] of pods)
          pods.set(
            at,
            some.filter(({ uid }) => uid !== action.uid),
          )
        return
      case 'deleteBuild':
        return void builds.delete(key(build))
      case 'finalizer':
      case 'createCleanJob':
      case 'createBuild':
      case 'forget':
        throw new Error(`neither a claim nor a pull, and yet ${action.kind}`)
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
    /** What is there of the pod of a Job. */
    pod(job: string, pod: Partial<PodView>): void {
      const own = job.slice(job.indexOf('/') + 1)
      const buildUid = jobs.get(job)?.buildUid ?? ''
      const usual = { name: `${own}-pod`, uid: `${own}-uid`, job: own, buildUid, phase: 'Running', live: true }
      const nothing = {
        outcome: undefined,
        disrupted: undefined,
        waiting: undefined,
        failed: undefined,
        building: true,
        exits: new Map<string, number>(),
        running: [],
      }
      pods.set(job, [{ ...usual, ...nothing, deleting: false, endsAt: undefined, ...pod }])
    },
    get now() {
      return clock
    },
    pods,
    templates,
    refusals,
    unseen,
    /** Of the last look. */
    get failures() {
      return failed
    },
    advance: (seconds: number) => void (clock += seconds * 1000),
    look(): void {
      const seen = new Map([...jobs].filter(([at]) => !unseen.has(at)))
      const view = { builds: [...builds.values()], templates, jobs: seen, pods, buildNodes }
      const { work, failures } = plan(view, limits, new Date(clock))
      failed = failures
      for (const actions of work) for (const action of actions) act(action)
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
  }, 120_000)

  it('goes on with all others where it fails for one Build, and says for which', () => {
    const world = simulate({ perNamespace: 1, perNode: 1 })
    world.add('a', 'broken', { cleanUp: { pod: 'soon' } })
    const broken = world.builds.get('a/broken')
    const completionTime = '2026-01-01T00:00:00Z'
    if (broken) world.builds.set('a/broken', { ...broken, status: { phase: 'Failed', completionTime } })
    world.add('a', 'one')
    for (let i = 0; i < 3; i += 1) world.look()
    expect(world.made).toEqual(['a/one'])
    expect(world.failures.map(({ build, error }) => [build.metadata?.name, String(error)])).toEqual([
      ['broken', expect.stringContaining('"soon" is no duration')],
    ])
  })

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

  it('gives no turn to Builds whose template does not exist, so that others need not wait for them', () => {
    const world = simulate({ perNamespace: 2, perNode: 1 })
    for (const name of ['lost-1', 'lost-2', 'lost-3']) world.add('a', name, { template: { name: 't' } })
    world.add('a', 'one')
    world.add('b', 'two')
    for (let i = 0; i < 3; i += 1) world.look()
    expect(world.made).toEqual(['a/one', 'b/two'])
    const waits = { phase: 'Queued', message: 'waits for BuildTemplate t, which does not exist' }
    expect(world.builds.get('a/lost-1')?.status).toMatchObject(waits)
    world.templates.set('BuildTemplate/a/t', { spec: { source: { dockerfile: 'FROM t' } } })
    world.look()
    expect(world.builds.get('a/lost-1')?.status?.message).toBe('waits: 2 Builds run already')
    for (const job of world.jobs.keys()) world.finish(job)
    for (let i = 0; i < 3; i += 1) world.look()
    expect(world.made.slice(2)).toEqual(['a/lost-1', 'a/lost-2'])
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

  it.each([
    [true, 'InfrastructureFailed', 'the pod was deleted: container test ended with exit code 137'],
    [false, 'BuildFailed', 'container test ended with exit code 137'],
  ])(
    'takes a step that ended with its pod for lost, and one that failed by itself not: %s',
    (deleting, reason, message) => {
      const world = simulate({ perNamespace: 1, perNode: 1 })
      world.add('a', 'one', { retries: 0 })
      for (let i = 0; i < 3; i += 1) world.look()
      const failed = { container: 'test', message: 'container test ended with exit code 137' }
      world.pod('a/one-one-1', { phase: 'Failed', live: false, building: false, deleting, failed })
      world.finish('a/one-one-1', 'failed')
      world.look()
      const { status } = world.builds.get('a/one') ?? {}
      expect(status).toMatchObject({ phase: 'Failed', message })
      expect(status?.conditions?.find(({ type }) => type === 'Succeeded')).toMatchObject({ reason })
    },
  )

  const pushed = {
    result: 'succeeded',
    digest: 'sha256:a',
    names: ['r/a:1'],
    node: 'n1',
    platform: 'linux/arm64',
  } as const
  const known = { digest: 'sha256:a', names: ['r/a:1'], node: 'n1', platform: 'linux/arm64' }
  /** One that runs, and whose pod has said that it pushed: a step after the build still runs. */
  const withPushed = (spec: Partial<BuildSpec> = {}) => {
    const world = simulate({ perNamespace: 1, perNode: 1 })
    world.add('a', 'one', spec)
    for (let i = 0; i < 3; i += 1) world.look()
    world.pod('a/one-one-1', { outcome: pushed })
    return world
  }
  const statusOf = (world: ReturnType<typeof simulate>) => world.builds.get('a/one')?.status

  it('says what was pushed while steps after it run, and still when the pod is gone', () => {
    const world = withPushed({ retries: 0 })
    world.look()
    expect(statusOf(world)).toMatchObject({ phase: 'Running', ...known })
    world.pods.clear()
    world.finish('a/one-one-1', 'failed')
    for (let i = 0; i < 6; i += 1) world.look()
    expect(statusOf(world)).toMatchObject(known)
  })

  it('says what was pushed of a Build that is cancelled, also when its pod says so after that', () => {
    for (const late of [false, true]) {
      const world = withPushed()
      const pod = world.pods.get('a/one-one-1') ?? []
      if (late) world.pods.clear()
      const build = world.builds.get('a/one')
      if (build) world.builds.set('a/one', { ...build, spec: { ...build.spec, cancelled: true } })
      world.look()
      expect(statusOf(world)?.phase).toBe('Cancelled')
      if (late) world.pods.set('a/one-one-1', pod)
      world.look()
      expect(statusOf(world)).toMatchObject({ phase: 'Cancelled', ...known })
      expect(world.jobs.size).toBe(0)
    }
  })

  it('says what was pushed of a Build whose time is over', () => {
    const world = withPushed()
    const job = world.jobs.get('a/one-one-1')
    if (job) world.jobs.set('a/one-one-1', { ...job, state: 'failed', reason: 'DeadlineExceeded' })
    world.look()
    expect(statusOf(world)).toMatchObject({ phase: 'Failed', ...known })
    expect(statusOf(world)?.conditions?.find(({ type }) => type === 'Succeeded')).toMatchObject({ reason: 'Timeout' })
  })

  it('says why a Job has no pod once it should have one, in the phase in which it is, and no more when the pod is there', () => {
    const world = simulate({ perNamespace: 1, perNode: 1 })
    world.add('a', 'one')
    for (let i = 0; i < 3; i += 1) world.look()
    world.advance(9)
    world.look()
    expect(statusOf(world)).toMatchObject({ phase: 'Starting', job: 'one-one-1', message: undefined })
    world.advance(1)
    world.look()
    const said = 'Job one-one-1 has no pod yet: kubectl -n a describe job one-one-1 says why'
    expect(statusOf(world)).toMatchObject({ phase: 'Starting', job: 'one-one-1', message: said })
    const refusal = (pod: string, why: string) => `Error creating: pods "one-one-1-${pod}" is forbidden: ${why}`
    world.refusals.push(
      { message: refusal('x', 'exceeded quota: new'), lastTimestamp: '2026-01-01T00:00:09Z' },
      { message: refusal('y', 'exceeded quota: old'), lastTimestamp: '2026-01-01T00:00:08Z' },
    )
    world.look()
    const why = 'Job one-one-1 gets no pod: forbidden: exceeded quota: new'
    expect(statusOf(world)).toMatchObject({ phase: 'Starting', message: why })
    const running = statusOf(world)?.conditions?.find(({ type }) => type === 'Running')
    expect(running).toMatchObject({ status: 'False', reason: 'PodRefused', message: why })
    world.pod('a/one-one-1', {})
    world.look()
    expect(statusOf(world)).toMatchObject({ phase: 'Running', message: undefined })
  })

  it('says of a Build that never had a pod within its timeout what it waited for', () => {
    const world = simulate({ perNamespace: 1, perNode: 1 })
    world.add('a', 'one', { timeout: '1m' })
    for (let i = 0; i < 3; i += 1) world.look()
    world.refusals.push({ message: 'Error creating: admission webhook "x" denied the request: no' })
    world.advance(61)
    world.look()
    const job = world.jobs.get('a/one-one-1')
    if (job) world.jobs.set('a/one-one-1', { ...job, state: 'failed', reason: 'DeadlineExceeded' })
    world.look()
    const why = 'Job one-one-1 gets no pod: admission webhook "x" denied the request: no'
    expect(statusOf(world)?.message).toBe(`it took longer than its timeout of 60 s; it waited: ${why}`)
  })

  describe('of a Build beside a container that goes on', () => {
    /** Exit codes of our own containers, and what the build said. */
    const beside = (exits: Record<string, number>, outcome: PodView['outcome'], spec: Partial<BuildSpec> = {}) => {
      const world = withPushed(spec)
      const running = ['istio-proxy']
      world.pod('a/one-one-1', { outcome, exits: new Map(Object.entries(exits)), running, building: false })
      return world
    }
    const reasonOf = (world: ReturnType<typeof simulate>) =>
      statusOf(world)?.conditions?.find(({ type }) => type === 'Succeeded')?.reason

    it('ends it by its outcome, and deletes its Job, which would wait for that container', () => {
      const world = beside({ build: 0 }, pushed)
      world.look()
      expect(statusOf(world)).toMatchObject({ phase: 'Succeeded', ...known })
      world.look()
      expect(world.jobs.size).toBe(0)
    })

    it('lets it fail, or tries it again, as it would alone', () => {
      const failed = beside({ build: 1 }, { result: 'failed', message: 'exit code: 1' })
      failed.look()
      expect(statusOf(failed)).toMatchObject({ phase: 'Failed', message: 'exit code: 1' })
      expect(reasonOf(failed)).toBe('BuildFailed')
      const lost = beside({ build: 75 }, { result: 'infrastructure', message: 'lost' })
      for (let i = 0; i < 3; i += 1) lost.look()
      expect(statusOf(lost)).toMatchObject({ phase: 'Starting', attempt: 2 })
      expect([...lost.jobs.keys()]).toEqual(['a/one-one-2'])
    })

    it('goes on while a step after the build does', () => {
      const steps = { after: [{ name: 'scan', image: 'scanner' }, { image: 'busybox' }] }
      const world = beside({ build: 0, scan: 0 }, pushed, { steps })
      world.look()
      expect(statusOf(world)?.phase).toBe('Running')
      world.pod('a/one-one-1', { outcome: pushed, exits: new Map([['after-2', 0]]), running: ['istio-proxy'] })
      world.look()
      expect(statusOf(world)?.phase).toBe('Succeeded')
    })

    it.each(['DeadlineExceeded', 'BackoffLimitExceeded'])(
      'says that it has succeeded also after %s of that one',
      (reason) => {
        const world = beside({ build: 0, 'istio-proxy': 137 }, pushed)
        const failed = { container: 'istio-proxy', message: 'container istio-proxy ended with exit code 137' }
        for (const [at, pods] of world.pods)
          world.pods.set(
            at,
            pods.map((pod) => ({ ...pod, running: [], failed })),
          )
        const job = world.jobs.get('a/one-one-1')
        if (job) world.jobs.set('a/one-one-1', { ...job, state: 'failed', reason })
        world.look()
        expect(statusOf(world)).toMatchObject({ phase: 'Succeeded', ...known })
      },
    )

    it('decides nothing while the pod is taken away, or where there is no such container', () => {
      for (const pod of [{ deleting: true }, { disrupted: 'evicted' }, { running: [] }]) {
        const world = beside({ build: 75 }, { result: 'infrastructure' })
        world.pod('a/one-one-1', { exits: new Map([['build', 75]]), running: ['istio-proxy'], ...pod })
        world.look()
        expect(statusOf(world)).toMatchObject({ phase: 'Running', attempt: 1 })
      }
    })
  })

  it('ends a Build whose Job is gone, and none whose Job is only not seen yet', () => {
    const world = simulate({ perNamespace: 1, perNode: 1 })
    world.add('a', 'one')
    for (let i = 0; i < 3; i += 1) world.look()
    world.unseen.add('a/one-one-1')
    for (let i = 0; i < 3; i += 1) world.look()
    expect(statusOf(world)).toMatchObject({ phase: 'Starting', attempt: 1 })
    world.jobs.clear()
    world.look()
    expect(statusOf(world)).toMatchObject({ phase: 'Failed', message: 'Job one-one-1 was deleted before it ended' })
    expect(world.made).toEqual(['a/one'])
  })

  it('remembers attempts that were lost, with their last lines', () => {
    const world = simulate({ perNamespace: 1, perNode: 1 })
    world.add('a', 'one')
    for (let i = 0; i < 3; i += 1) world.look()
    world.pod('a/one-one-1', { outcome: { result: 'infrastructure', node: 'n2', message: 'node n2 was lost' } })
    world.finish('a/one-one-1', 'failed')
    world.look()
    expect(statusOf(world)).toMatchObject({
      ...{ attempt: 2, phase: 'Starting' },
      former: [{ attempt: 1, pod: 'one-one-1-pod', node: 'n2', message: 'node n2 was lost' }],
    })
    expect(statusOf(world)?.node).toBeUndefined()
  })

  describe('of a Build whose pod is told to end', () => {
    /** Its Job has failed already: for that one the pod counts no more. */
    const ending = (spec: Partial<BuildSpec>, pod: Partial<PodView> = {}) => {
      const world = simulate({ perNamespace: 1, perNode: 1 })
      world.add('a', 'one', spec)
      const build = world.builds.get('a/one')
      // A claim is held by its finalizer.
      const finalizers = [workspaceFinalizer]
      if (build) world.builds.set('a/one', { ...build, metadata: { ...build.metadata, finalizers } })
      for (let i = 0; i < 3; i += 1) world.look()
      world.pod('a/one-one-1', { deleting: true, endsAt: world.now + 15_000, ...pod })
      world.finish('a/one-one-1', 'failed')
      return world
    }
    const said = { result: 'infrastructure', message: 'the pod was told to end\n#9 1.0 make' } as const
    const attemptAfter = (world: ReturnType<typeof simulate>, seconds: number) => {
      world.advance(seconds)
      for (let i = 0; i < 3; i += 1) world.look()
      return [statusOf(world)?.attempt, world.made.length]
    }
    const workspace = { claimName: 'models' }

    it.each([undefined, 'evicted'])('waits for its last lines, and only then tries it again (%s)', (disrupted) => {
      const world = ending({}, { disrupted })
      expect(attemptAfter(world, 0)).toEqual([1, 1])
      expect(attemptAfter(world, 14)).toEqual([1, 1])
      world.pod('a/one-one-1', { deleting: true, endsAt: world.now + 1000, disrupted, outcome: said })
      expect(attemptAfter(world, 0)).toEqual([2, 2])
      const message = disrupted === undefined ? said.message : `evicted\n${said.message}`
      expect(statusOf(world)?.former).toMatchObject([{ attempt: 1, message }])
    })

    it('waits no longer than its grace, nor when it has ended or is gone', () => {
      expect(attemptAfter(ending({}), 15)).toEqual([2, 2])
      expect(attemptAfter(ending({}, { phase: 'Failed' }), 0)).toEqual([2, 2])
      const gone = ending({})
      gone.pods.clear()
      expect(attemptAfter(gone, 0)).toEqual([2, 2])
    })

    it('with a claim waits until nothing may write to it any more, at the longest until the pod is given up', () => {
      const world = ending({ workspace }, { outcome: said })
      expect(attemptAfter(world, 0)).toEqual([1, 1])
      expect(attemptAfter(world, 74)).toEqual([1, 1])
      expect(attemptAfter(world, 1)).toEqual([2, 2])
      const ended = ending({ workspace }, { outcome: said, phase: 'Failed' })
      expect(attemptAfter(ended, 0)).toEqual([2, 2])
    })

    it('and a container beside it that goes on does not keep the next attempt from the claim', () => {
      const world = ending({ workspace })
      const job = world.jobs.get('a/one-one-1')
      if (job) world.jobs.set('a/one-one-1', { ...job, state: 'active' })
      world.pod('a/one-one-1', { outcome: said, exits: new Map([['build', 75]]), running: ['istio-proxy'] })
      expect(attemptAfter(world, 0)).toEqual([2, 2])
    })
  })

  it('gives up pods that nobody ends a minute after their grace, also of Builds that are gone, and no others', () => {
    const world = withPushed()
    world.pod('a/one-one-1', { deleting: true, endsAt: world.now + 15_000 })
    world.pods.set('b/gone-1', [
      { ...(world.pods.get('a/one-one-1')?.[0] as PodView), uid: 'other', endsAt: world.now },
    ])
    for (const [seconds, left] of [
      [59, 2],
      [2, 1],
      [13, 1],
      [2, 0],
    ] as const) {
      world.advance(seconds)
      world.look()
      expect([seconds, [...world.pods.values()].flat().length]).toEqual([seconds, left])
    }
    world.pod('a/one-one-1', {})
    world.advance(1000)
    world.look()
    expect(world.pods.get('a/one-one-1')).toHaveLength(1)
  })
})
