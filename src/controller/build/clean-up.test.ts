import { describe, expect, test } from 'vitest'
import type { Build } from '../../api/builds/builds.ts'
import { workspaceFinalizer } from '../../api/builds/work.ts'
import type { JobView, View } from '../view.ts'
import { cleanJobName } from './names.ts'
import { planBuild } from './plan.ts'

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
  const job = { namespace: 'a', name, buildUid: 'c', role: 'clean', deleting: false, reason: undefined }
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
