import { expect, it } from 'vitest'
import { annotations, caSecret, tlsSecret } from '../../api/names.ts'
import { refusal } from '../../kernel/k8s/failure.ts'
import type { KubernetesObject as AnyObject } from '../../kernel/k8s/objects.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import type { KubernetesObject } from '../manifests/object.ts'
import { apply } from './apply.ts'

const object = (kind: string, name: string): KubernetesObject => ({ apiVersion: 'v1', kind, metadata: { name } })

/** A cluster with this object, which does not answer the first question of each sort. */
const cluster = (present?: AnyObject) => {
  const asked = new Set<string>()
  const applied: AnyObject[] = []
  const answer = <T>(question: string, value: T): Promise<T> => {
    if (asked.has(question)) return Promise.resolve(value)
    asked.add(question)
    return Promise.reject(refusal({ verb: question, what: 'it', server: 'https://api' }, 503, undefined))
  }
  return {
    applied,
    resource: () => answer('resource', resources.namespaces),
    find: <T extends AnyObject>() => answer('find', present as T | undefined),
    apply: async <T extends AnyObject>(object: AnyObject): Promise<T> => {
      await answer('apply', undefined)
      applied.push(object)
      return { metadata: { resourceVersion: '2' } } as T
    },
  }
}

it('waits for an API server that restarts, whatever it was asked', async () => {
  const client = cluster()
  const said: string[] = []
  await apply(client, [object('Namespace', 'home'), object('Secret', caSecret)], (line) => said.push(line))
  expect(said).toEqual(['  Namespace home created', `  Secret ${caSecret} created`])
  expect(client.applied[0]?.metadata?.annotations).toEqual({ [annotations.namespaceCreated]: 'true' })
})

it('writes nothing to the CA of somebody else', async () => {
  const client = cluster({ metadata: { name: caSecret }, ...{ type: tlsSecret } })
  await apply(client, [object('Secret', caSecret)], () => {})
  expect(client.applied).toEqual([])
})
