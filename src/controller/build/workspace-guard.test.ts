import { expect, test } from 'vitest'
import { templateOf } from '../../../test/unit/job-template.ts'
import type { Build, Recipe } from '../../api/builds/builds.ts'
import type { PodTemplate } from '../../api/builds/pod-template.ts'
import { buildUidLabel, workspaceContainer } from '../../api/builds/work.ts'
import { readPod } from '../view.ts'

const build: Build = { metadata: { namespace: 'a', name: 'b', uid: 'c' }, spec: {} }

const pod = (recipe: Recipe, podTemplate?: PodTemplate) => templateOf(build, recipe, podTemplate).spec
const names = (recipe: Recipe): string[] => (pod(recipe)?.initContainers ?? []).map(({ name }) => name)
const workspace = { claimName: 'models' }

test.each([
  [{}, []],
  [{ workspace }, [workspaceContainer]],
  [{ workspace, cleanUp: { workspace: 'Always' } }, [workspaceContainer]],
  [{ workspace, cleanUp: { workspace: 'OnSuccess' } }, []],
  [{ workspace, cleanUp: { workspace: 'Never' } }, []],
  // Before all steps, so that it ends after them.
  [
    { workspace, steps: { before: [{ name: 'fetch' }], after: [{ name: 'test' }] } },
    [workspaceContainer, 'fetch', 'build'],
  ],
] as readonly (readonly [Recipe, readonly string[]])[])('with %j init containers are %j', (recipe, expected) => {
  expect(names(recipe)).toEqual(expected)
})

test('it removes the directory that the Build names, and no pod template makes it another program', () => {
  const template = { spec: { initContainers: [{ name: workspaceContainer, command: ['sh'], args: ['-c', 'x'] }] } }
  const [guard] = pod({ workspace: { ...workspace, directory: 'x/y' } }, template)?.initContainers ?? []
  expect(guard).toMatchObject({
    restartPolicy: 'Always',
    args: ['clean-workspace', '--root', '/claim', '--directory', 'x/y', '--if-namespace-ends'],
  })
  expect(guard?.['command']).toBeUndefined()
})

test('how it runs and ends is not taken for the build', () => {
  const seen = (guard: object, step: object, phase: string) =>
    readPod({
      metadata: { name: 'p', uid: 'u', labels: { [buildUidLabel]: 'c' } },
      status: {
        phase,
        initContainerStatuses: [
          { name: workspaceContainer, state: guard },
          { name: 'fetch', state: step },
        ],
      },
    })
  const waiting = { waiting: { reason: 'ImagePullBackOff', message: 'no such image' } }
  expect(seen({ running: {} }, waiting, 'Pending')).toMatchObject({
    ...{ live: false, waiting: 'ImagePullBackOff: no such image' },
  })
  const killed = { terminated: { exitCode: 137, reason: 'Error' } }
  expect(seen(killed, { terminated: { exitCode: 0 } }, 'Failed')?.failed).toBeUndefined()
})
