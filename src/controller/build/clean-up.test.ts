import { describe, expect, test } from 'vitest'
import type { Build, BuildStatus, BuildTemplate } from '../../api/builds/builds.ts'
import { workspaceFinalizer } from '../../api/builds/work.ts'
import type { JobView, View } from '../view.ts'
import { cleanJobName, jobName } from './names.ts'
import { planBuild } from './plan.ts'
import { timeText } from './status.ts'

const now = new Date('2026-01-01T01:00:00Z')

function ended(phase: 'Succeeded' | 'Failed' | 'Cancelled', when: 'Always' | 'OnSuccess' | 'Never' | undefined): Build {
  return {
    metadata: { namespace: 'a', name: 'b', uid: 'c', finalizers: [workspaceFinalizer] },
    spec: {
      source: { workspace: {} },
      workspace: { claimName: 'models' },
      ...(when === undefined ? {} : { cleanUp: { workspace: when } }),
    },
    status: { phase, startTime: '2026-01-01T00:00:00Z', completionTime: '2026-01-01T00:30:00Z' },
  }
}

function actions(build: Build, clean?: JobView['state']) {
  const name = cleanJobName(build)
  const job = { namespace: 'a', name, buildUid: 'c', role: 'clean', deleting: false, reason: undefined, createdAt: 0 }
  const jobs = clean === undefined ? new Map() : new Map([[`a/${name}`, { ...job, state: clean }]])
  const view: View = { builds: [build], templates: new Map(), jobs, pods: new Map(), buildNodes: 1 }
  return planBuild(build, view, true, now).actions
}

describe('the directory on the claim', () => {
  test.each([
    ['Succeeded', undefined, 'removed'],
    ['Failed', undefined, 'removed'],
    ['Cancelled', undefined, 'removed'],
    ['Failed', 'Always', 'removed'],
    ['Succeeded', 'OnSuccess', 'removed'],
    ['Failed', 'OnSuccess', 'kept'],
    ['Cancelled', 'OnSuccess', 'kept'],
    ['Succeeded', 'Never', 'kept'],
    ['Failed', 'Never', 'kept'],
  ] as const)('of a Build that ended as %s with cleanUp.workspace %s is %s', (phase, when, what) => {
    const [first] = actions(ended(phase, when))
    expect(first).toMatchObject(what === 'removed' ? { kind: 'createCleanJob' } : { kind: 'finalizer', present: false })
  })

  test('that could not be removed holds nobody back, and is told of', () => {
    const build = ended('Succeeded', 'Always')
    expect(actions(build, 'active')).toEqual([])
    expect(actions(build, 'complete')).toEqual([{ kind: 'finalizer', build, present: false }])
    expect(actions(build, 'failed')).toMatchObject([
      { kind: 'finalizer', present: false, event: { type: 'Warning', reason: 'NotCleaned' } },
    ])
  })
})

describe('a Build that has begun', () => {
  const template: BuildTemplate = {
    spec: { source: { workspace: {} }, workspace: { claimName: 'models' }, retries: 1, timeout: '1h' },
  }
  const withTemplate = (one: BuildTemplate | undefined): View['templates'] =>
    new Map(one === undefined ? [] : [['BuildTemplate/a/t', one]])
  const viewOf = (build: Build, templates: View['templates'], jobs: readonly JobView[] = []): View => ({
    ...{ builds: [build], templates, pods: new Map(), buildNodes: 1 },
    jobs: new Map(jobs.map((job) => [`a/${job.name}`, job])),
  })
  const begun = (): Build => {
    const build: Build = {
      metadata: { namespace: 'a', name: 'b', uid: 'c', finalizers: [workspaceFinalizer] },
      spec: { template: { name: 't' } },
    }
    const [start] = planBuild(build, viewOf(build, withTemplate(template)), true, now).actions
    if (start?.kind !== 'status') throw new Error(`not begun, but ${start?.kind}`)
    // As the API server keeps it.
    return { ...build, status: JSON.parse(JSON.stringify(start.status)) as BuildStatus }
  }
  const jobOf = (build: Build, attempt = 1): JobView => ({
    ...{ namespace: 'a', name: jobName(build, attempt), buildUid: 'c', role: 'build', deleting: false },
    ...{ state: 'active', reason: undefined, createdAt: now.getTime() },
  })
  const another: BuildTemplate = {
    spec: { source: { dockerfile: 'FROM other' }, parameters: [{ name: 'NEW' }], timeout: '1s' },
  }

  test.each([
    ['deleted', undefined],
    ['another one', another],
  ] as const)(
    'keeps the recipe that it began with when its template is %s: running, tried again, cleaned',
    (_, changed) => {
      const templates = withTemplate(changed)
      const build = begun()
      const recipe = { ...template.spec }
      expect(planBuild(build, viewOf(build, templates), true, now).actions).toMatchObject([
        { kind: 'createJob', recipe },
      ])

      const running = planBuild(build, viewOf(build, templates, [jobOf(build)]), true, now).actions
      expect(running).toMatchObject([{ kind: 'status', status: { phase: 'Starting', job: jobName(build, 1) } }])

      const lost: JobView = { ...jobOf(build), state: 'failed', reason: 'BackoffLimitExceeded' }
      const [again] = planBuild(build, viewOf(build, templates, [lost]), true, now).actions
      expect(again).toMatchObject({ kind: 'status', status: { phase: 'Starting', attempt: 2 } })
      const second: Build = { ...build, status: again?.kind === 'status' ? again.status : {} }
      const next = planBuild(second, viewOf(second, templates), true, now).actions
      expect(next).toMatchObject([{ kind: 'createJob', attempt: 2, recipe }])

      const over: Build = { ...build, status: { ...build.status, phase: 'Failed', completionTime: timeText(now) } }
      const gone: Build = { ...build, metadata: { ...build.metadata, deletionTimestamp: timeText(now) } }
      for (const ended of [over, gone]) {
        const cleaning = planBuild(ended, viewOf(ended, templates), true, now).actions
        expect(cleaning).toMatchObject([{ kind: 'createCleanJob', recipe: { workspace: { claimName: 'models' } } }])
      }
    },
  )

  test('says itself what it says: only the rest is kept of its template, and of no template nothing', () => {
    const own: Build = { metadata: { namespace: 'a', name: 'b', uid: 'c' }, spec: { source: { dockerfile: 'FROM a' } } }
    const statusOf = (build: Build) => {
      const [start] = planBuild(build, viewOf(build, withTemplate({ spec: { timeout: '1h' } })), true, now).actions
      return start?.kind === 'status' ? start.status : undefined
    }
    expect(statusOf(own)).not.toHaveProperty('fromTemplate')
    const spec = { ...own.spec, template: { name: 't' } }
    expect(statusOf({ ...own, spec })?.fromTemplate).toEqual({ timeout: '1h' })
    expect(statusOf({ ...own, spec: { ...spec, timeout: '5m' } })?.fromTemplate).toEqual({})
  })
})
