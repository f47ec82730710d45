import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { annotations, caSecret, configMaps, labels } from '../../../src/api/names.ts'
import { cleanLabel } from '../../../src/cli/manifests/clean.ts'
import { manifests } from '../../../src/cli/manifests/manifests.ts'
import { defaultOptions } from '../../../src/cli/manifests/options.ts'
import { processEnv } from '../../../src/kernel/config/env.ts'
import type { KubernetesClient } from '../../../src/kernel/k8s/client.ts'
import type { KubernetesObject } from '../../../src/kernel/k8s/objects.ts'
import { resources } from '../../../src/kernel/k8s/resources.ts'
import { run, type RunResult } from '../../../src/kernel/process/run.ts'
import { type ApiServer, startApiServer } from '../fixtures/apiserver.ts'

const root = join(import.meta.dirname, '../../..')
const [image, buildkitRoot] = ['example.com/own:1', '/data/bk']
const options = { ...defaultOptions(), image, paths: { ...defaultOptions().paths, buildkitRoot } }
const { namespace } = options

let server: ApiServer
let admin: KubernetesClient
beforeAll(async () => {
  server = await startApiServer()
  admin = await server.client()
})
afterAll(async () => {
  admin?.close()
  await server?.close()
})

/** Two nodes, of which the second one alone has an agent. No kubelet runs here: pods end when the test says so. */
beforeEach(async () => {
  for (const { metadata } of await admin.list(resources.pods, { namespace })) await end(metadata?.name ?? '')
  for (const { object } of manifests(options)) await admin.apply(object)
  await node('without', true)
  await pod('agent', 'with')
})

/** One of a role, and named as it. */
const pod = (role: string, nodeName: string): Promise<unknown> =>
  admin.create(
    resources.pods,
    { namespace },
    {
      ...{ apiVersion: 'v1', kind: 'Pod' },
      metadata: { name: role, labels: { [labels.role]: role } },
      spec: { nodeName, containers: [{ name: role, image }] },
    },
  )

async function node(name: string, isReady: boolean): Promise<void> {
  await admin.apply({ apiVersion: 'v1', kind: 'Node', metadata: { name } })
  const condition = { type: 'Ready', status: isReady ? 'True' : 'Unknown', reason: 'Test', message: '' }
  const status = {
    conditions: [condition],
    nodeInfo: { operatingSystem: 'linux', containerRuntimeVersion: 'containerd://2.1.0' },
  }
  await admin.patch(resources.nodes, { name, subresource: 'status' }, { status })
}

const insitu = (...args: string[]): Promise<RunResult> => {
  const env = { KUBECONFIG: server.kubeconfig, PATH: processEnv()['PATH'] ?? '' }
  return run(join(root, 'bin/insitu'), args, { env, allow: [1, 2] })
}
const uninstall = (
  builds: '--keep-builds' | '--delete-builds' = '--delete-builds',
  timeout = '2s',
  ...more: string[]
) => insitu('uninstall', builds, '--grace', '1s', '--timeout', timeout, '--output', 'json', ...more)
/** As a kubelet does it. */
const end = (name: string): Promise<void> =>
  admin.delete(resources.pods, { namespace, name }, { gracePeriodSeconds: 0, ignoreMissing: false })

interface CleanPod extends KubernetesObject {
  readonly spec: { readonly nodeName: string; readonly containers: readonly { image: string; args: string[] }[] }
}
const cleanPods = async (): Promise<CleanPod[]> => {
  const labelSelector = Object.entries(cleanLabel).map(([key, value]) => `${key}=${value}`)
  return admin.list<CleanPod>(resources.pods, { namespace, labelSelector: labelSelector.join(',') })
}
/** How and where the last run cleaned; its pods are ended, and it finds nothing to do any more. */
async function cleaned(): Promise<unknown[]> {
  const pods = await cleanPods()
  for (const pod of pods) await end(pod.metadata?.name ?? '')
  await admin.delete(resources.nodes, { name: 'with' })
  expect(await uninstall()).toMatchObject({ exitCode: 0 })
  expect(await cleanPods()).toEqual([])
  return pods.map(({ spec: { nodeName, containers } }) => [
    nodeName,
    ...containers.map(({ image, args }) => [image, args.slice(0, 3)]),
  ])
}
const onlyThere = [['with', [image, ['clean-node', '--root', buildkitRoot]]]]

test('a node that is down keeps no other from being cleaned, and is cleaned when it is back', async () => {
  await node('with', false)
  const first = await uninstall()
  expect(first).toMatchObject({ exitCode: 1 })
  expect(first.stderr).toContain('not cleaned: with (the node is not ready)')
  expect(JSON.parse(first.stdout)).toEqual({
    nodes: [{ node: 'with', error: 'the node is not ready' }],
    namespaceDeleted: false,
  })
  expect(await cleanPods()).toEqual([])

  await node('with', true)
  await end('agent')
  // Nobody runs the pod that is to clean the node.
  expect((await uninstall()).stderr).toContain('not cleaned: with')
  expect(await cleaned()).toEqual(onlyThere)
})

test('a run that was interrupted leaves to the next one where agents were, and how they worked', async () => {
  await node('with', true)
  expect((await uninstall()).stderr).toContain('1 pods do not stop')
  await end('agent')
  expect((await uninstall()).stderr).toContain('not cleaned: with')
  expect(await cleaned()).toEqual(onlyThere)
})

test('what an uninstall has left is forgotten with a new installation, whose agents may be elsewhere and work otherwise', async () => {
  const left = async (): Promise<string | undefined> =>
    (await admin.get(resources.configMaps, { namespace, name: configMaps.ca })).metadata?.annotations?.[
      annotations.notCleaned
    ]
  await node('with', false)
  expect((await uninstall()).stderr).toContain('not cleaned: with')
  expect(await left()).toContain(buildkitRoot)
  const installed = await insitu('install', '--no-wait')
  expect(installed, installed.stderr).toMatchObject({ exitCode: 0 })
  expect(await left()).toBeUndefined()
})

test('where only the kinds of Builds are left, no node is cleaned', async () => {
  await node('with', true)
  await end('agent')
  await admin.delete(resources.nodes, { name: 'with' })
  expect(await uninstall('--keep-builds')).toMatchObject({ exitCode: 0 })
  const last = await uninstall()
  expect(last, last.stderr).toMatchObject({ exitCode: 0 })
  expect(JSON.parse(last.stdout)).toMatchObject({ nodes: [] })
  expect(await cleanPods()).toEqual([])
})

test('a CA of somebody else keeps its key, its labels and the namespace', async () => {
  await end('agent')
  const ref = { namespace, name: caSecret }
  await admin.delete(resources.secrets, ref)
  const data = { 'tls.crt': btoa('certificate'), 'tls.key': btoa('key') }
  const type = 'kubernetes.io/tls'
  const theirs = { 'app.kubernetes.io/managed-by': 'Helm' }
  const metadata = { name: caSecret, labels: theirs }
  await admin.create(resources.secrets, { namespace }, { apiVersion: 'v1', kind: 'Secret', metadata, type, data })
  const secret = async () => {
    const { metadata, ...more } = await admin.get<KubernetesObject & { data: object }>(resources.secrets, ref)
    return { ...more, labels: metadata?.labels }
  }

  const installed = await insitu('install', '--no-wait')
  expect(installed, installed.stderr).toMatchObject({ exitCode: 0 })
  expect(await secret()).toMatchObject({ type, data, labels: theirs })
  expect(await uninstall()).toMatchObject({ exitCode: 0 })
  expect(await secret()).toMatchObject({ type, data, labels: theirs })

  // As kubectl does it, which knows no types; and in a namespace that insitu has made.
  for (const { object } of manifests(options)) await admin.apply(object)
  const created = (value: string | null) =>
    admin.patch(
      resources.namespaces,
      { name: namespace },
      { metadata: { annotations: { [annotations.namespaceCreated]: value } } },
    )
  await created('true')
  const last = await uninstall()
  expect(last, last.stderr).toMatchObject({ exitCode: 0 })
  expect(last.stderr).toContain(`namespace ${namespace} stays: `)
  expect(JSON.parse(last.stdout)).toMatchObject({ namespaceDeleted: false })
  expect(await secret()).toMatchObject({ type, data, labels: undefined })
  // Also when nothing else is left.
  expect(JSON.parse((await uninstall()).stdout)).toMatchObject({ namespaceDeleted: false })

  await created(null)
  await admin.delete(resources.secrets, ref)
})

test('a run that ended before nodes lost their labels leaves that to the next one', async () => {
  await end('agent')
  await node('labelled', true)
  const ours = { labels: { [labels.mode]: 'rootless' }, annotations: { [annotations.modeByInstall]: 'true' } }
  await admin.patch(resources.nodes, { name: 'labelled' }, { metadata: ours })
  const kubeconfig = await readsNodes()
  const first = await uninstall('--delete-builds', '2s', '--kubeconfig', kubeconfig)
  expect(first).toMatchObject({ exitCode: 1 })
  expect(first.stderr).toContain('not allowed to patch nodes labelled')

  const second = await uninstall()
  expect(second, second.stderr).toMatchObject({ exitCode: 0 })
  const after = await admin.get(resources.nodes, { name: 'labelled' })
  expect(after.metadata?.labels?.[labels.mode]).toBeUndefined()
  await admin.delete(resources.nodes, { name: 'labelled' })
})

/** The kubeconfig of an account that may uninstall, but not change nodes. */
async function readsNodes(): Promise<string> {
  const kinds = manifests(options).map(({ object }) => admin.resource(object.apiVersion, object.kind))
  const rules = [...(await Promise.all(kinds)), resources.pods].map(({ group, plural }) => ({
    apiGroups: [group],
    resources: [plural],
    verbs: ['*'],
  }))
  const nodes = { apiGroups: [''], resources: ['nodes'], verbs: ['get', 'list'] }
  const builds = { apiGroups: ['insitu.build'], resources: ['*'], verbs: ['*'] }
  const [rbac, name] = ['rbac.authorization.k8s.io', 'reads-nodes']
  const metadata = { name }
  await admin.apply({
    apiVersion: `${rbac}/v1`,
    kind: 'ClusterRole',
    metadata,
    ...{ rules: [...rules, nodes, builds] },
  })
  const roleRef = { apiGroup: rbac, kind: 'ClusterRole', name }
  const subjects = [{ apiGroup: rbac, kind: 'User', name: 'nobody' }]
  await admin.apply({ apiVersion: `${rbac}/v1`, kind: 'ClusterRoleBinding', metadata, ...{ roleRef, subjects } })
  const nobody = await server.client('nobody')
  await vi.waitFor(async () => expect(await nobody.allowed({ verb: 'list', resource: resources.nodes })).toBe(true))
  nobody.close()
  const file = `${server.kubeconfig}-nobody`
  await writeFile(file, (await readFile(server.kubeconfig, 'utf8')).replace('admin-of-the-test', 'nobody-of-the-test'))
  return file
}

test('a namespace that pods of a node that is down keep is not waited for, and the node is named', async () => {
  await end('agent')
  await node('down', false)
  await pod('gateway', 'down')
  const created = { metadata: { annotations: { [annotations.namespaceCreated]: 'true' } } }
  await admin.patch(resources.namespaces, { name: namespace }, created)
  // Also the second one, for which nothing but the namespace is left.
  for (const _ of ['first', 'second']) {
    const begun = performance.now()
    const result = await uninstall('--delete-builds', '60s')
    expect(result).toMatchObject({ exitCode: 1 })
    expect(result.stderr).toContain(`namespace ${namespace} keeps pods of nodes that are down: down\n`)
    expect(performance.now() - begun).toBeLessThan(30_000)
  }
})
