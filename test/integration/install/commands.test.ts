import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { startApiServer, type ApiServer } from '../fixtures/apiserver.ts'
import { manifests } from '../../../src/cli/manifests/manifests.ts'
import { defaultOptions } from '../../../src/cli/manifests/options.ts'
import { processEnv } from '../../../src/kernel/config/env.ts'
import type { KubernetesClient } from '../../../src/kernel/k8s/client.ts'
import type { KubernetesObject } from '../../../src/kernel/k8s/objects.ts'
import { resources } from '../../../src/kernel/k8s/resources.ts'
import { parseYaml } from '../../../src/kernel/k8s/yaml.ts'
import { run, type RunResult } from '../../../src/kernel/process/run.ts'

const root = join(import.meta.dirname, '../../..')
const namespace = 'buildkit-system'

let server: ApiServer
let admin: KubernetesClient
let directory: string
beforeAll(async () => {
  server = await startApiServer()
  admin = await server.client()
  directory = await mkdtemp(join(tmpdir(), 'insitu-install-'))
})
afterAll(async () => {
  admin?.close()
  await server?.close()
  await rm(directory, { recursive: true, force: true })
})

const env = (): Record<string, string> => ({
  KUBECONFIG: server.kubeconfig,
  PATH: `${root}/.tools/bin:${processEnv()['PATH'] ?? ''}`,
})
const insitu = (...args: string[]): Promise<RunResult> =>
  run(join(root, 'bin/insitu'), args, { env: env(), allow: [1, 2] })
const kubectl = (...args: string[]): Promise<RunResult> => run('kubectl', args, { env: env() })

const key = (object: unknown): string => {
  const { kind, metadata } = object as KubernetesObject
  return `${kind} ${metadata?.name}`
}

/** No kubelet runs here: nodes are what is written. */
async function node(name: string, nodeInfo: object = {}): Promise<void> {
  await admin.apply({ apiVersion: 'v1', kind: 'Node', metadata: { name, labels: { 'test-node': 'yes' } } })
  const status = {
    conditions: [{ type: 'Ready', status: 'True', reason: 'Test', message: '' }],
    nodeInfo: {
      ...Object.fromEntries(
        ['machineID', 'systemUUID', 'bootID', 'kernelVersion', 'osImage', 'kubeProxyVersion', 'architecture'].map(
          (k) => [k, 'x'],
        ),
      ),
      containerRuntimeVersion: 'containerd://2.4.2',
      kubeletVersion: 'v1.35.4',
      operatingSystem: 'linux',
      ...nodeInfo,
    },
  }
  await admin.patch(resources.nodes, { name, subresource: 'status' }, { status })
}

/** What an installation could have left in the cluster. Namespaces stay `Terminating` without a controller manager. */
async function leftovers(): Promise<string[]> {
  const kinds: [string, string][] = [
    ['v1', 'ServiceAccount'],
    ['v1', 'Service'],
    ['v1', 'Secret'],
    ['v1', 'ConfigMap'],
    ['v1', 'ResourceQuota'],
    ['apps/v1', 'Deployment'],
    ['apps/v1', 'DaemonSet'],
    ['policy/v1', 'PodDisruptionBudget'],
    ['networking.k8s.io/v1', 'NetworkPolicy'],
    ['rbac.authorization.k8s.io/v1', 'ClusterRole'],
    ['rbac.authorization.k8s.io/v1', 'ClusterRoleBinding'],
    ['rbac.authorization.k8s.io/v1', 'Role'],
    ['rbac.authorization.k8s.io/v1', 'RoleBinding'],
    ['admissionregistration.k8s.io/v1', 'ValidatingAdmissionPolicy'],
    ['admissionregistration.k8s.io/v1', 'ValidatingAdmissionPolicyBinding'],
  ]
  const names: string[] = []
  for (const [apiVersion, kind] of kinds) {
    const resource = await admin.resource(apiVersion, kind)
    for (const object of await admin.list(resource, {})) {
      if (object.metadata?.labels?.['app.kubernetes.io/part-of'] === 'insitu')
        names.push(`${kind} ${object.metadata.name}`)
    }
  }
  return names
}

beforeEach(async () => {
  for (const existing of await admin.list(resources.nodes))
    await admin.delete(resources.nodes, { name: existing.metadata?.name })
})

describe('the three commands of the installation', () => {
  test('work as they stand, again and again, and uninstall leaves the namespace and nothing else', async () => {
    const create = ['create', 'ns', namespace]
    await kubectl(...create)
    await kubectl('-n', namespace, 'create', 'cm', 'buildkitd.toml', `--from-file=${root}/install/buildkitd.toml`)
    const first = await kubectl('apply', '-f', `${root}/install/buildkit.yaml`)
    expect(first.stdout).toContain('daemonset.apps/insitu-agent created')
    const again = await kubectl('apply', '-f', `${root}/install/buildkit.yaml`)
    expect(again.stdout.match(/unchanged|configured/g)).toHaveLength(again.stdout.split('\n').length)
    expect(again.stdout).not.toContain('created')

    const result = await insitu('uninstall', '--output', 'json')
    expect(result).toMatchObject({ exitCode: 0 })
    expect(JSON.parse(result.stdout)).toEqual({ nodes: [], namespaceDeleted: false })
    expect(await leftovers()).toEqual([])
    const home = await admin.get(resources.namespaces, { name: namespace })
    expect(Object.keys(home.metadata?.labels ?? {})).toEqual(['kubernetes.io/metadata.name'])
    // The user's own configuration is not ours to delete.
    await admin.get(resources.configMaps, { namespace, name: 'buildkitd.toml' })
    expect((await insitu('uninstall')).stderr).toContain('not installed')
  })
})

describe('Builds and templates', () => {
  const kind = (kind: string, metadata: object, spec: object) => ({
    ...{ apiVersion: 'insitu.build/v1alpha1', kind, metadata },
    spec: { source: { dockerfile: 'FROM scratch' }, ...spec },
  })
  const names = async () => (await kubectl('get', 'builds,clusterbuildtemplates', '-A', '-o', 'name')).stdout

  test('do not go with an uninstall that nobody told to take them', async () => {
    await node('n1')
    // One that insitu made would stay `Terminating` here.
    await admin.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } })
    expect(await insitu('install', '--no-wait')).toMatchObject({ exitCode: 0 })
    const build = kind('Build', { namespace: 'default', name: 'app' }, { output: { names: ['example.test/app'] } })
    // An API server that has just got the definitions reads the templates, on which what a Build may have depends.
    await vi.waitFor(() => admin.apply(build), { timeout: 60_000, interval: 500 })
    await admin.apply(kind('ClusterBuildTemplate', { name: 'recipe' }, {}))
    const made = await names()
    expect(made.trim().split('\n')).toHaveLength(2)

    const refused = await insitu('uninstall')
    expect(refused).toMatchObject({ exitCode: 2 })
    expect(refused.stderr).toContain('this would delete 1 Build, 1 ClusterBuildTemplate of all namespaces')
    expect(refused.stderr).toMatch(/fix: --keep-builds .* --delete-builds/)
    // Before anything was stopped.
    expect((await insitu('status')).stdout).toContain('gateways 0/2')

    const kept = await insitu('uninstall', '--keep-builds')
    expect(kept).toMatchObject({ exitCode: 0 })
    expect(kept.stderr).toContain('1 Build, 1 ClusterBuildTemplate stay')
    expect(await leftovers()).toEqual([])
    expect(await names()).toBe(made)
    expect((await insitu('uninstall', '--keep-builds')).stderr).toContain('not installed')

    await insitu('install', '--no-wait')
    expect(await names()).toBe(made)
    const deleted = await insitu('uninstall', '--delete-builds')
    expect(deleted).toMatchObject({ exitCode: 0 })
    expect(deleted.stderr).toContain('1 Build, 1 ClusterBuildTemplate will be deleted')
    const gone = async () => expect((await kubectl('get', 'crd', '-o', 'name')).stdout).toBe('')
    await vi.waitFor(gone, { timeout: 30_000 })
    expect(await leftovers()).toEqual([])
  })
})

describe('insitu install', () => {
  test('applies, adopts what kubectl applied, changes, says what changed, and is taken back by uninstall', async () => {
    await node('n1')
    await kubectl('apply', '-f', `${root}/install/buildkit.yaml`)
    const toml = join(directory, 'buildkitd.toml')
    await writeFile(toml, '[log]\nlevel = "debug"\n')
    const changed = await insitu('install', '--no-wait', '--replicas', '3', '--buildkitd-toml', toml)
    expect(changed.stderr).toContain(`Deployment ${namespace}/insitu-gateway changed`)
    expect(changed.stderr).toContain(`ServiceAccount ${namespace}/insitu-agent`)
    expect(changed.exitCode).toBe(0)
    const second = await insitu('install', '--no-wait', '--replicas', '3', '--buildkitd-toml', toml)
    expect(second.stderr).not.toMatch(/created|(?<!un)changed/)
    const deployment = await admin.get<KubernetesObject & { spec: { replicas: number } }>(resources.deployments, {
      namespace,
      name: 'insitu-gateway',
    })
    expect(deployment.spec.replicas).toBe(3)
    expect((await insitu('uninstall')).exitCode).toBe(0)
    expect(await leftovers()).toEqual([])
  })

  test('run again, drops nothing that nobody has said is to be dropped', async () => {
    await node('n1')
    const options = ['--replicas', '3', '--allow-plaintext', '10.0.0.0/8', '--node-selector', 'test-node=yes']
    expect(await insitu('install', '--no-wait', ...options)).toMatchObject({ exitCode: 0 })
    const state = async () => (await kubectl('-n', namespace, 'get', 'deploy,ds,cm', '-o', 'yaml')).stdout
    const before = await state()

    const refused = await insitu('install', '--no-wait', '--image', 'example.com/other:1')
    expect(refused).toMatchObject({ exitCode: 2 })
    expect(refused.stderr).toContain(options.join(' '))
    expect(refused.stderr).toMatch(/fix: .*--reuse-options .*--reset-options/)
    expect(await state()).toBe(before)

    const reused = await insitu('install', '--no-wait', '--image', 'example.com/other:1', '--reuse-options')
    expect(reused).toMatchObject({ exitCode: 0 })
    const now = await state()
    expect(now).toContain('test-node: "yes"')
    expect(now).toContain('replicas: 3')
    expect(now).toContain('10.0.0.0/8')
    expect(now).toContain('image: example.com/other:1')
    // The image is remembered as well, and what was reused with it.
    expect((await insitu('install', '--no-wait', ...options)).stderr).toContain('--image example.com/other:1')
    const same = await insitu('install', '--no-wait', '--reuse-options')
    expect(same.stderr).not.toMatch(/created|(?<!un)changed|deleted/)

    const reset = await insitu('install', '--no-wait', '--replicas', '1', '--reset-options')
    expect(reset.stderr).toContain(`ConfigMap ${namespace}/insitu.toml deleted`)
    expect(await state()).not.toMatch(/test-node|10\.0\.0\.0|example\.com\/other/)
    expect(await insitu('install', '--no-wait', '--replicas', '2')).toMatchObject({ exitCode: 0 })
    await insitu('uninstall')
    expect(await leftovers()).toEqual([])
  })

  test('run again, leaves the configuration of agents alone, and agents that have it', async () => {
    await node('n1')
    const toml = join(directory, 'kept.toml')
    await writeFile(toml, '[log]\nlevel = "debug"\n')
    await insitu('install', '--no-wait', '--buildkitd-toml', toml)
    const again = await insitu('install', '--no-wait')
    expect(again.exitCode).toBe(0)
    expect(again.stderr).not.toMatch(/created|(?<!un)changed/)
    // What somebody has changed in the meantime is what new agents have to read.
    const data = { 'buildkitd.toml': '[log]\nlevel = "info"\n' }
    await admin.patch(resources.configMaps, { namespace, name: 'buildkitd.toml' }, { data })
    expect((await insitu('install', '--no-wait')).stderr).toContain(`DaemonSet ${namespace}/insitu-agent changed`)
    await insitu('uninstall')
  })

  test('never replaces an insitu.toml that somebody has written', async () => {
    await node('n1')
    await kubectl('-n', namespace, 'delete', 'cm', 'insitu.toml', '--ignore-not-found')
    const own = '--from-literal=insitu.toml=[gateway]\nmaxBuildDuration = 60\n'.replaceAll('\\n', '\n')
    await kubectl('-n', namespace, 'create', 'cm', 'insitu.toml', own)
    const refused = await insitu('install', '--no-wait', '--allow-plaintext', '10.0.0.0/8')
    expect(refused).toMatchObject({ exitCode: 2 })
    expect(refused.stderr).toContain('[gateway.plaintext]\n    cidrs = ["10.0.0.0/8"]')
    expect(await leftovers()).toEqual([])
    expect(await insitu('install', '--no-wait')).toMatchObject({ exitCode: 0 })
    expect((await kubectl('-n', namespace, 'get', 'cm', 'insitu.toml', '-o', 'yaml')).stdout).toContain(
      'maxBuildDuration',
    )
    await insitu('uninstall')
    await kubectl('-n', namespace, 'delete', 'cm', 'insitu.toml')
  })

  test('keeps a proxy variable that somebody gave the agents', async () => {
    await node('n1')
    await insitu('install', '--no-wait')
    await kubectl('-n', namespace, 'set', 'env', 'ds/insitu-agent', 'HTTP_PROXY=http://proxy:3128')
    await insitu('install', '--no-wait', '--image', 'example.com/other:1')
    const { stdout } = await kubectl('-n', namespace, 'get', 'ds', 'insitu-agent', '-o', 'yaml')
    expect(stdout).toContain('http://proxy:3128')
    expect(stdout).toContain('example.com/other:1')
    await insitu('uninstall')
  })

  test('takes the paths of the distribution it finds', async () => {
    await node('n1', { kubeletVersion: 'v1.33.1+k3s1' })
    await insitu('install', '--no-wait')
    const { stdout } = await kubectl('-n', namespace, 'get', 'ds', 'insitu-agent', '-o', 'yaml')
    expect(stdout).toContain('/var/lib/rancher/k3s/agent/containerd')
    await insitu('uninstall')
  })

  test('rootless: nothing of a node is asked for, Pod Security of the namespace is baseline', async () => {
    await node('n1', { containerRuntimeVersion: 'cri-o://1.33.1' })
    const result = await insitu('install', '--no-wait', '--mode', 'rootless')
    expect(result.stderr).toContain(`DaemonSet ${namespace}/insitu-agent-rootless created`)
    const { stdout } = await kubectl('-n', namespace, 'get', 'ds', '-o', 'yaml')
    expect(stdout).not.toMatch(/hostPath|privileged: true|hostPID: true|hostPort/)
    expect((await kubectl('get', 'ns', namespace, '-o', 'yaml')).stdout).toContain('enforce: baseline')
    const other = await insitu('install', '--no-wait', '--mode', 'node', '--distribution', 'kubeadm')
    expect(other).toMatchObject({ exitCode: 1 })
    expect(other.stderr).toContain('agents of another mode')
    // Nothing to clean on nodes, where no pod could anyway.
    expect(JSON.parse((await insitu('uninstall', '-o', 'json')).stdout)).toMatchObject({ nodes: [] })
    expect(await leftovers()).toEqual([])
  })

  test('mixed: a node without containerd is labelled for the other mode, and not for ever', async () => {
    await node('n1')
    await node('n2', { containerRuntimeVersion: 'cri-o://1.33.1' })
    const refused = await insitu('install', '--no-wait')
    expect(refused.stderr).toMatch(/node n2 runs cri-o:\/\/1.33.1.*\n.*--mode mixed/)
    const result = await insitu('install', '--no-wait', '--mode', 'mixed')
    expect(result.stderr).toContain('Node n2 runs cri-o://1.33.1, not containerd: it builds rootless')
    const modes = async () =>
      (await admin.list(resources.nodes)).map((n) => [n.metadata?.name, n.metadata?.labels?.['insitu.build/mode']])
    expect(await modes()).toEqual([
      ['n1', undefined],
      ['n2', 'rootless'],
    ])
    expect((await insitu('uninstall')).exitCode).toBe(0)
    expect(await modes()).toEqual([
      ['n1', undefined],
      ['n2', undefined],
    ])
    expect(await leftovers()).toEqual([])
  })

  test.each(['rootless', 'mixed'])('the overlay %s is what kustomize makes of what is printed', async (mode) => {
    const { stdout } = await kubectl('kustomize', join(root, 'install/overlays', mode))
    const printed = await insitu('install', '--print', '--mode', mode)
    const objects = (yaml: string): unknown[] => parseYaml(yaml).toSorted((a, b) => (key(a) < key(b) ? -1 : 1))
    expect(objects(stdout)).toEqual(objects(printed.stdout))
  })

  test.each<[string, string[], RegExp]>([
    ['no node can build', [], /none of the 0 nodes/],
    ['the nodes differ', ['v1.35.4', 'v1.33.1+k3s1'], /different places/],
  ])('changes nothing when %s', async (_, kubelets, message) => {
    for (const [i, kubeletVersion] of kubelets.entries()) await node(`n${i}`, { kubeletVersion })
    const result = await insitu('install', '--no-wait')
    expect(result.exitCode).toBe(1)
    expect(result.stderr).toMatch(message)
    expect(result.stderr).toContain('fix:')
    expect(await leftovers()).toEqual([])
  })

  test('changes nothing for an unknown key in buildkitd.toml, and says which line', async () => {
    await node('n1')
    const toml = join(directory, 'wrong.toml')
    await writeFile(toml, '[worker.containerd]\ngc = true\nsnapshoter = "overlayfs"\n')
    const result = await insitu('install', '--no-wait', '--buildkitd-toml', toml)
    expect(result.exitCode).toBe(1)
    expect(result.stderr).toContain('line 3')
    expect(result.stderr).toContain('snapshoter')
    expect(await leftovers()).toEqual([])
  })

  test('does not take over an object that is somebody else’s', async () => {
    await node('n1')
    await kubectl('-n', namespace, 'create', 'service', 'clusterip', 'buildkitd', '--tcp=1234')
    const result = await insitu('install', '--no-wait')
    expect(result.stderr).toContain(`these exist and are not insitu's: Service ${namespace}/buildkitd`)
    expect(await leftovers()).toEqual([])
    await insitu('uninstall')
    await admin.get(resources.services, { namespace, name: 'buildkitd' })
    await kubectl('-n', namespace, 'delete', 'service', 'buildkitd')
  })

  test('says what the account may not do', async () => {
    await node('n1')
    await kubectl('create', 'clusterrole', 'reader', '--verb=get,list', '--resource=nodes')
    await kubectl('create', 'clusterrolebinding', 'reader', '--clusterrole=reader', '--user=nobody')
    const kubeconfig = join(directory, 'nobody')
    await writeFile(kubeconfig, await nobody())
    const result = await insitu('install', '--no-wait', '--kubeconfig', kubeconfig)
    expect(result.exitCode).toBe(1)
    expect(result.stderr).toContain(`create DaemonSet ${namespace}/insitu-agent`)
    expect(result.stderr).toContain('cluster-admin')
    expect(await leftovers()).toEqual([])
  })

  test('says so when the account cannot grant what the roles have, before anything is written', async () => {
    await node('n1')
    const kubeconfig = join(directory, 'writer')
    await writeFile(kubeconfig, await nobody())
    const home = 'granted'
    const install = () => insitu('install', '--no-wait', '--kubeconfig', kubeconfig, '--namespace', home)
    await kubectl('create', 'clusterrolebinding', 'writer', '--clusterrole=writer', '--user=nobody')

    const steps: [string[], string][] = [
      [[], 'grant ClusterRole insitu-gateway (get pods, '],
      [['escalate'], 'bind ClusterRole insitu-gateway (get pods, '],
      [
        ['escalate', 'bind'],
        'write ValidatingAdmissionPolicy insitu-build-arguments (get *.insitu.build, list *.insitu.build)',
      ],
    ]
    for (const [rights, what] of steps) {
      await writerMay(...rights)
      const refused = await install()
      expect(refused).toMatchObject({ exitCode: 1 })
      expect(refused.stderr).toContain(`this account may not: ${what}`)
      expect(refused.stderr).toContain('fix: Use an account with the role cluster-admin')
      expect(await leftovers()).toEqual([])
      expect(await admin.find(resources.namespaces, { name: home })).toBeUndefined()
    }

    await writerMay('escalate', 'bind', 'read')
    await kubectl('create', 'ns', home)
    const installed = await install()
    expect(installed, installed.stderr).toMatchObject({ exitCode: 0 })
    // Roles that are there are not granted again.
    await writerMay('read')
    const again = await install()
    expect(again, again.stderr).toMatchObject({ exitCode: 0 })
    await insitu('uninstall', '--namespace', home)
    await kubectl('delete', 'clusterrolebinding', 'writer')
    expect(await leftovers()).toEqual([])
  })

  test('a second installation in another namespace is refused', async () => {
    await node('n1')
    await insitu('install', '--no-wait')
    const result = await insitu('install', '--no-wait', '--namespace', 'second')
    expect(result.stderr).toContain(`installed in namespace ${namespace}`)
    expect((await insitu('uninstall', '--namespace', 'second')).stderr).toContain(`--namespace ${namespace}`)
    await insitu('uninstall')
    expect(await leftovers()).toEqual([])
  })

  test('the wait says what it waits for, and ends', async () => {
    await node('n1')
    const result = await insitu('install', '--timeout', '2s')
    expect(result.exitCode).toBe(1)
    expect(result.stderr).toMatch(/not ready after 2 s: gateways 0\/2/)
    const status = await insitu('status', '--output', 'json')
    expect(status.exitCode).toBe(1)
    expect(JSON.parse(status.stdout)).toMatchObject({
      installed: true,
      ready: false,
      address: `tcp://buildkitd.${namespace}.svc:2375`,
    })
    await insitu('uninstall')
    expect(await insitu('status')).toMatchObject({
      exitCode: 1,
      stdout: expect.stringContaining('not installed') as string,
    })
  })
})

/** A kubeconfig of a user without rights, made from the administrator's. */
async function nobody(): Promise<string> {
  const { stdout } = await kubectl('config', 'view', '--raw', '-o', 'json')
  return stdout.replace('admin-of-the-test', 'nobody-of-the-test')
}

/** Lets the user without rights write every kind of an installation, do this with roles, and `read` templates. */
async function writerMay(...more: string[]): Promise<void> {
  const group = 'rbac.authorization.k8s.io'
  const kinds = manifests(defaultOptions()).map(({ object }) => admin.resource(object.apiVersion, object.kind))
  const write = (await Promise.all(kinds)).map(({ group, plural }) => ({
    apiGroups: [group],
    resources: [plural],
    verbs: ['get', 'list', 'create', 'patch', 'delete'],
  }))
  const rules = [
    ...write,
    { apiGroups: [''], resources: ['nodes', 'pods', 'events'], verbs: ['list'] },
    ...more.map((what) =>
      what === 'read'
        ? { apiGroups: ['insitu.build'], resources: ['*'], verbs: ['get', 'list'] }
        : { apiGroups: [group], resources: ['roles', 'clusterroles'], verbs: [what] },
    ),
  ]
  await admin.apply({ apiVersion: `${group}/v1`, kind: 'ClusterRole', metadata: { name: 'writer' }, ...{ rules } })
  // An API server learns of a role a moment after it was written.
  const resource = { group, version: 'v1', plural: 'clusterroles', namespaced: false }
  const may = (verb: string) => admin.allowed({ verb, resource, user: 'nobody' })
  await vi.waitFor(async () => {
    expect(await may('create')).toBe(true)
    for (const verb of ['escalate', 'bind']) expect(await may(verb)).toBe(more.includes(verb))
  }, 20_000)
}
