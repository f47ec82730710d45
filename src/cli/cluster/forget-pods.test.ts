import { expect, it } from 'vitest'
import { annotations } from '../../api/names.ts'
import { refusal } from '../../kernel/k8s/failure.ts'
import type { KubernetesObject, ObjectList } from '../../kernel/k8s/objects.ts'
import { forgetPods } from './forget-pods.ts'

const refused = (httpStatus: number) => refusal({ verb: 'patch', what: 'pods', server: 'https://api' }, httpStatus, {})

/** A cluster with two woken pods on a page each. The second page comes too late the first time. */
const cluster = (refusals: Readonly<Record<string, number>> = {}) => {
  const woken = new Set(['a', 'b'])
  let late = true
  const page = <T extends KubernetesObject>(_: unknown, options: { continue?: string | undefined }) => {
    if (options.continue !== undefined && late) {
      late = false
      return Promise.reject(refused(410))
    }
    const name = options.continue === undefined ? 'a' : 'b'
    const marked = woken.has(name) ? { [annotations.imageReady]: 'now' } : {}
    const items = [{ metadata: { namespace: 'team', name, annotations: marked } }] as unknown as T[]
    return Promise.resolve<ObjectList<T>>({ items, metadata: name === 'a' ? { continue: 'b' } : {} })
  }
  const patch = <T extends KubernetesObject>(_: unknown, { name = '' }: { name?: string | undefined }): Promise<T> => {
    const status = refusals[name]
    if (status !== undefined) return Promise.reject(refused(status))
    woken.delete(name)
    return Promise.resolve({} as T)
  }
  return { page, patch, woken }
}

it('begins again where the list is too old by the time its next page is asked for', async () => {
  const client = cluster()
  await forgetPods(client, () => {})
  expect(client.woken).toEqual(new Set())
})

it('says which pod keeps the annotation, and goes on', async () => {
  const client = cluster({ a: 403 })
  const said: string[] = []
  await forgetPods(client, (line) => said.push(line))
  expect(client.woken).toEqual(new Set(['a']))
  expect(said[0]).toContain(`pod team/a keeps the annotation ${annotations.imageReady}`)
})
