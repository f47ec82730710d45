import { expect, it } from 'vitest'
import { workspaceFinalizer } from '../../api/builds/work.ts'
import { refusal } from '../../kernel/k8s/failure.ts'
import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import { madeObjects, refuseLoss } from './made-objects.ts'
import { releaseBuilds } from './release-builds.ts'

const gone = () => refusal({ verb: 'patch', what: 'the build', server: 'https://api' }, 404, undefined)
const build = (name: string, finalizers: readonly string[] = [workspaceFinalizer]): KubernetesObject => ({
  metadata: { namespace: 'team', name, finalizers: [...finalizers] },
})

/** A cluster with these objects, by the plural of their kind. */
const cluster = (objects: Readonly<Record<string, readonly KubernetesObject[]>>, vanished = '') => {
  const patched: unknown[] = []
  const list = <T extends KubernetesObject>({ plural }: { plural: string }): Promise<T[]> => {
    const found = objects[plural]
    return found === undefined ? Promise.reject(gone()) : Promise.resolve([...found] as T[])
  }
  const patch = <T extends KubernetesObject>(
    _: unknown,
    { name = '' }: { name?: string | undefined },
    body: unknown,
  ) => {
    if (name === vanished) return Promise.reject(gone())
    patched.push([name, body])
    return Promise.resolve({} as T)
  }
  return { list, patch, patched }
}

it('a Build that has gone meanwhile does not keep the others from being released', async () => {
  const client = cluster(
    { builds: [build('a'), build('b'), build('c', ['x', workspaceFinalizer]), build('d', [])] },
    'b',
  )
  await releaseBuilds(client)
  expect(client.patched).toEqual([
    ['a', { metadata: { finalizers: [] } }],
    ['c', { metadata: { finalizers: ['x'] } }],
  ])
})

it('what would be lost is counted by kind, and a kind that is not there has nothing', async () => {
  const made = await madeObjects(
    cluster({ builds: [build('a'), build('b')], clusterbuildtemplates: [{ metadata: { name: 't' } }] }),
  )
  expect(made).toEqual({ text: '2 Builds, 1 ClusterBuildTemplate', namespaces: new Set(['team']) })
  expect(() => refuseLoss(made)).toThrow('this would delete 2 Builds, 1 ClusterBuildTemplate of all namespaces')
  const nothing = await madeObjects(cluster({}))
  expect(nothing.text).toBe('')
  expect(() => refuseLoss(nothing)).not.toThrow()
})
