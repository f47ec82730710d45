import { expect, it } from 'vitest'
import { annotations } from '../../api/names.ts'
import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import type { Node, Pod } from './objects.ts'
import { removeNamespace } from './remove-namespace.ts'

const home: KubernetesObject = { metadata: { name: 'ours', annotations: { [annotations.namespaceCreated]: 'true' } } }
const flags = { namespace: 'ours' }
const node = (name: string, status: 'True' | 'Unknown'): Node => ({
  metadata: { name },
  status: { conditions: [{ type: 'Ready', status }] },
})
const pod = (nodeName: string, phase: string): Pod => ({ spec: { nodeName }, status: { phase } })

/** A cluster with two nodes, of which one is down, and these pods; the namespace is gone when it is looked at so often. */
const cluster = (pods: readonly Pod[], looks: number) => {
  const asked: string[] = []
  const list = <T extends KubernetesObject>({ plural }: { plural: string }): Promise<T[]> => {
    asked.push(`list ${plural}`)
    return Promise.resolve((plural === 'pods' ? [...pods] : [node('up', 'True'), node('down', 'Unknown')]) as T[])
  }
  const find = <T extends KubernetesObject>(): Promise<T | undefined> => {
    asked.push('find')
    return Promise.resolve(asked.filter((one) => one === 'find').length < looks ? (home as T) : undefined)
  }
  const patch = <T extends KubernetesObject>(): Promise<T> => Promise.reject(new Error('it is to go'))
  const remove = (): Promise<void> => Promise.resolve(void asked.push('delete'))
  return { list, find, patch, delete: remove, asked }
}

it('does not wait for a namespace that pods of a node that is down keep, and names the node', async () => {
  const client = cluster([pod('up', 'Running'), pod('down', 'Running'), pod('down', 'Pending')], 1000)
  await expect(removeNamespace(client, home, flags, 60_000)).rejects.toMatchObject({
    code: 'NAMESPACE_STAYS',
    message: 'namespace ours keeps pods of nodes that are down: down',
  })
  // It goes by itself then.
  expect(client.asked).toEqual(['delete', 'list pods', 'list nodes'])
})

it('waits for one whose pods end, and for one without pods', async () => {
  const ending = cluster([pod('up', 'Running'), pod('down', 'Succeeded')], 2)
  expect(await removeNamespace(ending, home, flags, 60_000)).toBe(true)
  expect(await removeNamespace(cluster([], 1), home, flags, 60_000)).toBe(true)
  await expect(removeNamespace(cluster([], 1000), home, flags, 0)).rejects.toMatchObject({ code: 'NAMESPACE_STAYS' })
})
