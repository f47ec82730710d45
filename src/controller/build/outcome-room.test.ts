import { expect, test } from 'vitest'
import { templateOf } from '../../../test/unit/job-template.ts'
import type { Build } from '../../api/builds/builds.ts'
import type { PodTemplate } from '../../api/builds/pod-template.ts'
import { buildUidLabel, type Outcome, type Work, workAnnotation } from '../../api/builds/work.ts'
import { outcomeText } from '../../cli/run-build/outcome-text.ts'
import { type JobView, readPod } from '../view.ts'
import { endOf } from './end.ts'

const build: Build = { metadata: { namespace: 'a', name: 'b', uid: 'c' }, spec: {} }

/** The room that the pod of a Build gets which has so many containers as its Job says. */
function roomOf(containers: number, podTemplate?: PodTemplate): number | undefined {
  const before = Array.from({ length: containers - 1 }, () => ({ image: 'busybox' }))
  const { annotations = {} } = templateOf(build, { steps: { before } }, podTemplate).metadata ?? {}
  return (JSON.parse(annotations[workAnnotation] ?? '') as Work).room
}

/** What is seen of a build that ended in a pod of so many containers: the kubelet cuts what they say, each alike. */
function endIn(containers: number, text: string, exitCode: number) {
  const message = Buffer.from(text)
    .subarray(0, Math.min(4096, Math.floor(12_288 / containers)))
    .toString()
  const pod = readPod({
    metadata: { name: 'p', uid: 'u', labels: { [buildUidLabel]: 'c' } },
    status: {
      phase: exitCode === 0 ? 'Succeeded' : 'Failed',
      containerStatuses: [{ name: 'build', state: { terminated: { exitCode, message } } }],
    },
  })
  const job: JobView = {
    ...{ namespace: 'a', name: 'b-1', buildUid: 'c', role: 'build', deleting: false, createdAt: 0 },
    ...{ state: exitCode === 0 ? 'complete' : 'failed', reason: undefined },
  }
  const end = endOf({ job, pods: pod ? [pod] : [], build, recipe: {}, now: new Date(0) })
  if (typeof end !== 'object') throw new Error(`no end: ${end}`)
  return end
}

const digest = `sha256:${'a'.repeat(64)}`
const last = 'process "/bin/sh -c make" did not complete successfully: exit code: 2'
const failed: Outcome = {
  ...{ message: `${'#9 1.0 "ü\\" is\tnot there\n'.repeat(150)}${last}`, note: 'a Secret was not read' },
  ...{ node: 'worker-1', platform: 'linux/amd64', commit: 'c'.repeat(40), digest, result: 'failed' },
  names: Array.from({ length: 16 }, (_, i) => `registry.example.com/${'n'.repeat(200)}:${i}`),
}
const succeeded: Outcome = {
  ...{ ...failed, message: undefined, result: 'succeeded' },
  bases: Array.from({ length: 40 }, (_, i) => ({ name: `docker.io/library/base-${i}:1`, digest })),
}
const counts = Array.from({ length: 33 }, (_, i) => i + 1)

test('the room of a pod is that of a container alone, or its share, also of what a mesh puts in', () => {
  expect([1, 2, 4, 15].map((count) => roomOf(count))).toEqual([4096, 3072, 2048, 722])
  const sidecars: PodTemplate = { spec: { containers: [{ name: 'x' }, { name: 'y' }, { name: 'build' }] } }
  expect(roomOf(2, sidecars)).toBe(2048)
})

test.each(counts)('in a pod of %i containers nothing is cut, and a failed build says why', (count) => {
  const end = endIn(count + 2, outcomeText(failed, roomOf(count)), 1)
  expect(end).toMatchObject({ reason: 'BuildFailed', outcome: { result: 'failed', digest } })
  expect(end.message).toContain(last)
  expect(end).not.toHaveProperty('infrastructure')
  expect(endIn(count + 2, outcomeText(succeeded, roomOf(count)), 0).outcome).toMatchObject({
    result: 'succeeded',
    digest,
  })
})

test.each(counts)(
  'what is cut by %i containers that nobody knew of still says how it ended, and what was pushed',
  (count) => {
    const end = endIn(count, outcomeText(failed), 1)
    expect(end).toMatchObject({ reason: 'BuildFailed', outcome: { digest } })
    expect(end.message).not.toContain('"result"')
    expect(endIn(count, outcomeText({ ...failed, result: 'infrastructure' }), 75)).toMatchObject({
      ...{ reason: 'InfrastructureFailed', infrastructure: true },
    })
    expect(endIn(count, outcomeText(succeeded), 0).outcome).toMatchObject({ result: 'succeeded', digest })
  },
)

test('no field is taken from what was cut in its midst, but for the message', () => {
  const text = outcomeText(failed)
  for (let bytes = 1; bytes < text.length; bytes += 1) {
    const said = endIn(1, text.slice(0, bytes), 1).outcome
    for (const field of ['digest', 'node', 'platform', 'commit'] as const) {
      expect([undefined, failed[field]]).toContain(said?.[field])
    }
  }
})

test('a build that ended by itself and left no word that can be read is not tried again', () => {
  expect(endIn(1, '', 1)).toMatchObject({ reason: 'BuildFailed', message: 'container build ended with exit code 1' })
  expect(endIn(1, '', 75)).toMatchObject({ infrastructure: true })
  expect(endIn(1, '', 137)).toMatchObject({ infrastructure: true })
})
