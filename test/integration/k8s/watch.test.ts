import { Writable } from 'node:stream'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import type { KubernetesClient } from '../../../src/kernel/k8s/client.ts'
import type { KubernetesObject } from '../../../src/kernel/k8s/objects.ts'
import { resources } from '../../../src/kernel/k8s/resources.ts'
import { watchResource, type ResourceWatch, type WatchOptions } from '../../../src/kernel/k8s/watch.ts'
import { createLogger } from '../../../src/kernel/log.ts'
import { startApiServer, type ApiServer } from '../fixtures/apiserver.ts'
import { startTcpProxy, type TcpProxy } from '../fixtures/tcp-proxy.ts'
import { until } from '../fixtures/until.ts'

interface ConfigMap extends KubernetesObject {
  readonly data?: Record<string, string>
}

let server: ApiServer
let admin: KubernetesClient
let proxy: TcpProxy
let viaProxy: KubernetesClient
let watch: ResourceWatch<string> | undefined
let logged: Record<string, unknown>[]
const logger = () =>
  createLogger({
    level: 'debug',
    destination: new Writable({
      write(chunk: Buffer, _encoding, done) {
        logged.push(JSON.parse(chunk.toString()) as Record<string, unknown>)
        done()
      },
    }),
  })

beforeAll(async () => {
  server = await startApiServer()
  admin = await server.client()
})
afterAll(async () => {
  admin?.close()
  await server?.close()
})
beforeEach(async () => {
  logged = []
  proxy = await startTcpProxy(server.port)
  viaProxy = await server.client('admin', proxy.port)
  for (const old of await admin.list(resources.configMaps, { namespace: 'default' })) {
    await admin.delete(resources.configMaps, { namespace: 'default', name: old.metadata?.name })
  }
})
afterEach(async () => {
  await watch?.stop()
  viaProxy.close()
  await proxy.close()
})

function open(options: Partial<WatchOptions<ConfigMap, string>> = {}): ResourceWatch<string> {
  watch = watchResource<ConfigMap, string>({
    client: viaProxy,
    resource: resources.configMaps,
    namespace: 'default',
    pick: (object) => object.data?.['value'],
    logger: logger(),
    backoff: { base: 20, max: 300 },
    ...options,
  })
  return watch
}

const put = (name: string, value?: string) =>
  admin.apply({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name, namespace: 'default' },
    ...(value === undefined ? {} : { data: { value } }),
  })
const drop = (name: string) => admin.delete(resources.configMaps, { namespace: 'default', name })
const seen = () => Object.fromEntries(watch?.items ?? [])

test('lists in pages, follows changes, and keeps only what pick returns', async () => {
  for (let i = 0; i < 7; i++) await put(`c${i}`, `v${i}`)
  await put('without-value')
  const calls: string[] = []
  open({
    pageSize: 3,
    onUpsert: (key, value, previous) => calls.push(`${key}=${value} was ${previous}`),
    onDelete: (key, previous) => calls.push(`${key} gone, was ${previous}`),
    onSynced: () => calls.push('synced'),
  })
  await watch?.whenSynced()
  expect(calls).toEqual([...[0, 1, 2, 3, 4, 5, 6].map((i) => `default/c${i}=v${i} was undefined`), 'synced'])
  calls.length = 0
  await put('c1', 'new')
  await drop('c2')
  await put('c3') // pick gives nothing for it now
  await until('the changes arrive', () => calls.length === 3)
  expect(calls).toEqual(['default/c1=new was v1', 'default/c2 gone, was v2', 'default/c3 gone, was v3'])
  expect(watch?.relists).toBe(0)
})

test('a cut connection goes on where it was, without listing again', async () => {
  open()
  await watch?.whenSynced()
  await put('before', '1')
  await until('the first event', () => seen()['default/before'])
  for (let i = 0; i < 20; i++) {
    proxy.cut()
    await put('after', String(i))
    await until(`event ${i}`, () => seen()['default/after'] === String(i))
  }
  expect(watch?.relists).toBe(0)
  expect(watch?.reconnects).toBeGreaterThan(0)
})

test('a connection that died silently is noticed and replaced', async () => {
  open({ stallAfter: 1000 })
  await watch?.whenSynced()
  await put('a', '1')
  await until('the first event', () => seen()['default/a'])
  proxy.freeze()
  await put('b', '2')
  await until('the event that the dead connection did not carry', () => seen()['default/b'], 20_000)
  expect(watch?.relists).toBe(0)
  expect(logged.some((line) => String(line['msg']).includes('silent'))).toBe(true)
})

test('an API server that restarts is found again, and what changed meanwhile is known', async () => {
  open()
  await put('stays', '1')
  await put('goes', '1')
  await until('both are there', () => Object.keys(seen()).length === 2)
  await server.kill()
  await until('the outage is logged', () => logged.some((line) => line['level'] === 'warn'))
  await server.start()
  await drop('goes')
  await put('comes', '1')
  await until('the picture is right', () => Object.keys(seen()).toSorted().join() === 'default/comes,default/stays')
  await until('recovery is logged', () => logged.some((line) => String(line['msg']).includes('works again')))
  expect(logged.filter((line) => line['level'] === 'warn')).toHaveLength(1)
})

test('a version that was compacted away (410) is answered with a new list, deletions included', async () => {
  open()
  await put('stays', '1')
  await put('goes', '1')
  await until('both are there', () => Object.keys(seen()).length === 2)
  proxy.refuse(true)
  proxy.cut()
  await drop('goes')
  await put('comes', '1')
  await server.compact()
  // A fresh server has no history of its own, so the old version is gone for good.
  await server.kill()
  await server.start()
  await put('later', '1')
  proxy.refuse(false)
  await until(
    'the picture is right',
    () => Object.keys(seen()).toSorted().join() === 'default/comes,default/later,default/stays',
  )
  expect(watch?.relists).toBeGreaterThan(0)
})

test('a refusal by RBAC is logged once with the fix, and access given later is used', async () => {
  const nobody = await server.client('nobody')
  open({ client: nobody })
  await until('three tries', () => (watch?.relists ?? 0) >= 3)
  const role = { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'reader' }
  const errors = () => logged.filter((line) => line['level'] === 'error')
  expect(errors()[0]).toMatchObject({
    fix: expect.stringContaining('"list" on configmaps in namespace default') as string,
  })
  await admin.apply({
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'Role',
    metadata: { name: 'reader', namespace: 'default' },
    rules: [{ apiGroups: [''], resources: ['configmaps'], verbs: ['list', 'watch'] }],
  } as KubernetesObject)
  await admin.apply({
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'RoleBinding',
    metadata: { name: 'reader', namespace: 'default' },
    roleRef: role,
    subjects: [{ kind: 'User', name: 'nobody', apiGroup: 'rbac.authorization.k8s.io' }],
  } as KubernetesObject)
  await watch?.whenSynced(AbortSignal.timeout(30_000))
  expect(errors()).toHaveLength(1)
  await watch?.stop()
  nobody.close()
})

test('age tells how old the picture is, and stop ends everything', async () => {
  let time = 1000
  open({ now: () => time })
  expect(watch?.age()).toBe(Infinity)
  await watch?.whenSynced()
  time += 5000
  expect(watch?.age()).toBe(5000)
  await put('x', '1')
  await until('the event', () => seen()['default/x'])
  expect(watch?.age()).toBe(0)
  const stopped = watch
  await stopped?.stop()
  // Another one is the witness: what it has seen, the first would have seen too.
  open()
  await watch?.whenSynced()
  for (const name of ['y', 'z']) {
    await put(name, '1')
    await until('the other watch to see it', () => seen()[`default/${name}`])
  }
  expect([...(stopped?.items.keys() ?? [])]).toEqual(['default/x'])
})
