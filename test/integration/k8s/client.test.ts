import { afterAll, beforeAll, expect, test } from 'vitest'
import { createKubernetesClient, type KubernetesClient } from '../../../src/kernel/k8s/client.ts'
import { isForbidden, isNotFound } from '../../../src/kernel/k8s/failure.ts'
import type { KubernetesObject } from '../../../src/kernel/k8s/objects.ts'
import { resources } from '../../../src/kernel/k8s/resources.ts'
import { startApiServer, type ApiServer } from '../fixtures/apiserver.ts'

interface ConfigMap extends KubernetesObject {
  readonly data?: Record<string, string>
}

let server: ApiServer
let client: KubernetesClient
beforeAll(async () => {
  server = await startApiServer()
  client = await createKubernetesClient({ kubeconfig: server.kubeconfig })
})
afterAll(async () => {
  client?.close()
  await server?.close()
})

const configMap = (name: string, data: Record<string, string>): ConfigMap => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace: 'default' },
  data,
})

test('objects are created, read, patched, replaced and deleted', async () => {
  const ref = { namespace: 'default', name: 'life' }
  await client.create(resources.configMaps, { namespace: 'default' }, configMap('life', { a: '1' }))
  await expect(
    client.create(resources.configMaps, { namespace: 'default' }, configMap('life', { a: '1' })),
  ).rejects.toMatchObject({ code: 'K8S_EXISTS' })
  await client.patch<ConfigMap>(resources.configMaps, ref, { data: { b: '2' } })
  await client.patch<ConfigMap>(resources.configMaps, ref, [{ op: 'remove', path: '/data/a' }], { type: 'json' })
  const read = await client.get<ConfigMap>(resources.configMaps, ref)
  expect(read.data).toEqual({ b: '2' })
  await client.replace(resources.configMaps, ref, { ...read, data: { c: '3' } })
  await expect(client.replace(resources.configMaps, ref, { ...read, data: { d: '4' } })).rejects.toMatchObject({
    code: 'K8S_CONFLICT',
  })
  await client.delete(resources.configMaps, ref)
  await client.delete(resources.configMaps, ref)
  expect(await client.find(resources.configMaps, ref)).toBeUndefined()
  await expect(client.get(resources.configMaps, ref)).rejects.toSatisfy(isNotFound)
})

test('lists are read page by page', async () => {
  for (let i = 0; i < 7; i++) {
    await client.apply({
      ...configMap(`page-${i}`, {}),
      metadata: { name: `page-${i}`, namespace: 'default', labels: { set: 'page' } },
    })
  }
  const page = await client.page(resources.configMaps, { namespace: 'default', labelSelector: 'set=page', limit: 3 })
  expect(page.items).toHaveLength(3)
  expect(page.metadata?.continue).toBeTruthy()
  const all = await client.list(resources.configMaps, { namespace: 'default', labelSelector: 'set=page', limit: 3 })
  expect(all.map((o) => o.metadata?.name)).toEqual([0, 1, 2, 3, 4, 5, 6].map((i) => `page-${i}`))
})

test('apply finds custom kinds as soon as they exist, and says which kind is missing', async () => {
  const crd = {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: 'things.test.insitu.build' },
    spec: {
      group: 'test.insitu.build',
      scope: 'Namespaced',
      names: { plural: 'things', singular: 'thing', kind: 'Thing' },
      versions: [
        {
          name: 'v1',
          served: true,
          storage: true,
          schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
        },
      ],
    },
  }
  const thing = { apiVersion: 'test.insitu.build/v1', kind: 'Thing', metadata: { name: 'one' }, spec: { size: 1 } }
  await expect(client.apply(thing)).rejects.toMatchObject({ code: 'K8S_UNKNOWN_KIND' })
  await client.apply(crd)
  await expect
    .poll(
      () =>
        client.apply(thing).then(
          (t) => t.metadata?.namespace,
          () => undefined,
        ),
      { timeout: 30_000 },
    )
    .toBe('default')
})

test('a dry run stores nothing', async () => {
  await client.apply(configMap('dry', {}), { dryRun: true })
  expect(await client.find(resources.configMaps, { namespace: 'default', name: 'dry' })).toBeUndefined()
})

test('a refusal names verb, resource, namespace and the fix', async () => {
  const nobody = await server.client('nobody')
  const error = await nobody.list(resources.replicaSets, { namespace: 'shop' }).catch((e: unknown) => e)
  expect(error).toSatisfy(isForbidden)
  expect(error).toMatchObject({
    code: 'K8S_FORBIDDEN',
    message: expect.stringContaining('not allowed to list replicasets.apps in namespace shop') as string,
    fix: expect.stringContaining('the verb "list" on replicasets.apps in namespace shop') as string,
  })
  expect(await nobody.allowed({ verb: 'list', resource: resources.pods })).toBe(false)
  expect(await client.allowed({ verb: 'list', resource: resources.pods })).toBe(true)
  expect(await client.allowed({ verb: 'get', resource: resources.pods, user: 'nobody' })).toBe(false)
  nobody.close()
})

test('a token of a service account is reviewed with what it is bound to', async () => {
  await client.apply({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'agent', namespace: 'default' } })
  const issued = await client.create<KubernetesObject & { status?: { token: string } }>(
    resources.serviceAccounts,
    { namespace: 'default', name: 'agent', subresource: 'token' },
    { spec: { audiences: ['insitu.build'], expirationSeconds: 600 } },
  )
  const token = issued.status?.token ?? ''
  expect(await client.reviewToken(token, ['insitu.build'])).toMatchObject({
    authenticated: true,
    username: 'system:serviceaccount:default:agent',
  })
  expect(await client.reviewToken(token, ['somebody.else'])).toMatchObject({ authenticated: false })
  expect(await client.reviewToken('nonsense', ['insitu.build'])).toMatchObject({ authenticated: false })
})

test('an unreachable server and a wrong CA are told apart', async () => {
  const nowhere = await createKubernetesClient({ endpoint: { ...server.endpoint(), server: 'https://127.0.0.1:1' } })
  await expect(nowhere.version()).rejects.toMatchObject({
    code: 'K8S_UNREACHABLE',
    message: expect.stringContaining('https://127.0.0.1:1') as string,
  })
  const wrong = await createKubernetesClient({
    endpoint: { ...server.endpoint(), credentials: () => Promise.resolve({}) },
  })
  await expect(wrong.version()).rejects.toMatchObject({
    code: 'K8S_UNREACHABLE',
    fix: expect.stringContaining('certificate') as string,
  })
})

test('a missing or broken kubeconfig is a clear error', async () => {
  await expect(createKubernetesClient({ kubeconfig: '/nonexistent/config' })).rejects.toMatchObject({
    code: 'KUBECONFIG_BROKEN',
  })
  await expect(createKubernetesClient({ kubeconfig: server.kubeconfig, context: 'other' })).rejects.toMatchObject({
    message: expect.stringContaining('it has: test') as string,
  })
  await expect(createKubernetesClient({ env: { HOME: '/nonexistent' } })).rejects.toMatchObject({ code: 'NO_CLUSTER' })
})

test('the signal ends a call', async () => {
  const stop = new AbortController()
  stop.abort(new Error('enough'))
  await expect(client.version({ signal: stop.signal })).rejects.toThrow('enough')
})
