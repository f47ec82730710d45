import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { apiVersion } from '../../src/api/builds/builds.ts'
import { annotations, configMaps, labels, namespace, tokenAudience } from '../../src/api/names.ts'
import { defaultOptions } from '../../src/cli/manifests/options.ts'
import { run } from '../../src/kernel/process/run.ts'
import { toolsBin } from '../lab/lab.ts'
import { waitFor } from '../lab/wait.ts'
import { buildArguments, buildctl, ensureInstalled, type Installed, repository, temporary } from './fixtures/insitu.ts'
import { digestOn } from './fixtures/node-images.ts'
import { portForward } from './fixtures/port-forward.ts'

const id = randomBytes(3).toString('hex')
const [red, blue] = [`e2e-red-${id}`, `e2e-blue-${id}`]
const policy = `
[[tenant]]
name = "operators"
match = { loopback = true }
names = ["*"]
frontends = ["*"]
administrator = true

[[tenant]]
name = "developers"
match = { serviceAccounts = ["${red}/dev"] }
names = ["reg.example.com/dev/"]

[[tenant]]
name = "lazy"
match = { serviceAccounts = ["${red}/lazy"] }
names = ["reg.example.com/{namespace}/lazy/"]
nodes = ["node1"]
cacheTo = []

[[tenant]]
name = "teams"
match = { namespaces = ["e2e-red-*"] }
names = ["reg.example.com/{namespace}/"]
`
let insitu: Installed

beforeAll(async () => {
  insitu = await ensureInstalled()
  for (const name of [red, blue]) {
    const meta = (more: object) => ({ metadata: { namespace: name, ...more } })
    const rbac = 'rbac.authorization.k8s.io'
    const objects = [
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name } },
      { apiVersion: 'v1', kind: 'ServiceAccount', ...meta({ name: 'builder' }) },
      { apiVersion: 'v1', kind: 'ServiceAccount', ...meta({ name: 'dev' }) },
      { apiVersion: 'v1', kind: 'ServiceAccount', ...meta({ name: 'lazy' }) },
      {
        ...{ apiVersion: `${rbac}/v1`, kind: 'RoleBinding', ...meta({ name: 'builders' }) },
        roleRef: { apiGroup: rbac, kind: 'ClusterRole', name: 'insitu-builder' },
        subjects: ['builder', 'dev', 'lazy'].map((account) => ({
          kind: 'ServiceAccount',
          name: account,
          namespace: name,
        })),
      },
      {
        ...{ apiVersion: 'v1', kind: 'ConfigMap', ...meta({ name: 'context' }) },
        data: { Dockerfile: 'FROM busybox\nRUN echo built > /by\n' },
      },
    ]
    await insitu.kubectl(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }))
  }
  await writePolicy(policy)
  await gatewaysSay((metrics) => /^insitu_policy_in_force 1$/m.test(metrics) && loadedAt(metrics) >= started)
})
afterAll(async () => {
  if (!insitu) return
  await insitu.kubectl(['delete', 'namespace', red, blue, '--wait=false'])
  await insitu.kubectl(['-n', namespace, 'delete', 'cm', configMaps.policy, '--ignore-not-found'])
  // A policy that went away stays in force: only new gateways have the default one.
  await insitu.kubectl(['-n', namespace, 'rollout', 'restart', 'deployment/insitu-gateway'])
  await insitu.kubectl(['-n', namespace, 'rollout', 'status', 'deployment/insitu-gateway', '--timeout=120s'])
})

const started = Math.floor(Date.now() / 1000)
const loadedAt = (metrics: string): number =>
  Number(/^insitu_policy_loaded_timestamp_seconds (\d+)$/m.exec(metrics)?.[1] ?? 0)

async function writePolicy(text: string): Promise<void> {
  const metadata = { name: configMaps.policy, namespace }
  const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { 'policy.toml': text } }
  await insitu.kubectl(['apply', '-f', '-'], JSON.stringify(object))
}

/** Waits until the metrics of every gateway fulfil something. Touching the pods makes their kubelets look at once. */
async function gatewaysSay(condition: (metrics: string) => boolean): Promise<void> {
  await waitFor(
    'every gateway to have the policy',
    async () => {
      const selector = ['-n', namespace, '-l', `${labels.role}=gateway`]
      await insitu.kubectl(['annotate', 'pods', ...selector, '--overwrite', `${annotations.config}-seen=${Date.now()}`])
      const pods = (await insitu.kubectl(['get', 'pods', ...selector, '-o', 'name'])).trim().split('\n')
      for (const pod of pods) {
        const path = `/api/v1/namespaces/${namespace}/pods/${pod.replace('pod/', '')}:9375/proxy/metrics`
        const metrics = await insitu.kubectl(['get', '--raw', path])
        if (!condition(metrics)) throw new Error(`${pod}: ${/^insitu_policy.*$/gm.exec(metrics)?.[0]}`)
      }
      return true
    },
    { timeout: 150_000, interval: 500 },
  )
}

/** Runs `insitu connect -- buildctl …` in a pod. @returns how it ended and what it said. */
async function inPod(where: string, account: string, ...command: string[]): Promise<{ phase: string; log: string }> {
  const name = `build-${randomBytes(3).toString('hex')}`
  const token = { path: 'token', audience: tokenAudience, expirationSeconds: 600 }
  const pod = {
    ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: where } },
    spec: {
      restartPolicy: 'Never',
      serviceAccountName: account,
      containers: [
        {
          ...{ name: 'main', image: defaultOptions().image, imagePullPolicy: 'Never' },
          args: ['connect', '--directory', '/tmp/tls', '--', 'buildctl', ...command],
          volumeMounts: [
            { name: 'token', mountPath: '/var/run/secrets/insitu.build', readOnly: true },
            { name: 'context', mountPath: '/context/Dockerfile', subPath: 'Dockerfile' },
          ],
        },
      ],
      volumes: [
        { name: 'token', projected: { sources: [{ serviceAccountToken: token }] } },
        { name: 'context', configMap: { name: 'context' } },
      ],
    },
  }
  await insitu.kubectl(['apply', '-f', '-'], JSON.stringify(pod))
  const phase = await waitFor(
    'the pod to end',
    async () => {
      const now = await insitu.kubectl(['-n', where, 'get', 'pod', name, '-o', 'jsonpath={.status.phase}'])
      return now === 'Succeeded' || now === 'Failed' ? now : undefined
    },
    { timeout: 120_000 },
  )
  return { phase, log: await insitu.kubectl(['-n', where, 'logs', name]) }
}

const build = (name: string): string[] => [
  ...[
    'build',
    '--progress=plain',
    '--frontend=dockerfile.v0',
    '--local=context=/context',
    '--local=dockerfile=/context',
  ],
  `--output=type=image,name=${name}`,
]

async function nodesWith(name: string): Promise<string[]> {
  const found = await Promise.all(
    insitu.lab.nodes.map(async (node) => {
      const images = await insitu.lab.exec(node, ['ctr', '-n', 'k8s.io', 'images', 'ls', '-q'])
      return images.stdout.split('\n').includes(name) ? [node] : []
    }),
  )
  return found.flat()
}

describe.concurrent('a pod that connects with its service account', () => {
  it('builds under the names of its namespace', async ({ expect }) => {
    const name = `reg.example.com/${red}/app:v1`
    const { phase, log } = await inPod(red, 'builder', ...build(name))
    expect(phase, log).toBe('Succeeded')
    expect(await nodesWith(name)).toHaveLength(1)
  })
  it('is refused another name, with the rule, and the name is nowhere', async ({ expect }) => {
    const name = `reg.example.com/${blue}/app:v1`
    const { phase, log } = await inPod(red, 'builder', ...build(name))
    expect(phase).toBe('Failed')
    expect(log).toMatch(/PermissionDenied/)
    expect(log).toContain('rule: tenant "teams": names')
    expect(await nodesWith(name)).toEqual([])
  })
  it('is refused everything when it belongs to no tenant', async ({ expect }) => {
    const { phase, log } = await inPod(blue, 'builder', ...build(`reg.example.com/${blue}/app:v1`))
    expect(phase).toBe('Failed')
    expect(log).toContain('belongs to no tenant')
  })
  it('may not prune', async ({ expect }) => {
    const { phase, log } = await inPod(red, 'builder', 'prune')
    expect(phase).toBe('Failed')
    expect(log).toContain('rule: administrator')
  })
})

it('a build that a pull starts has the rights of the account of its Build: names, nodes, caches', async () => {
  const image = (name: string): string => `reg.example.com/${red}/lazy/${name}:v1`
  const names = { there: image('there'), cached: image('cached'), foreign: `reg.example.com/${blue}/lazy:v1` }
  const kubectl = (...args: string[]) => insitu.kubectl(['-n', red, ...args])
  const apply = (items: readonly object[]) =>
    insitu.kubectl(['-n', red, 'apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items }))
  const build = (name: keyof typeof names, more: object = {}) => {
    const dockerfile = `FROM busybox\nRUN echo ${id} > /of\nLABEL of=${name}\nCMD ["cat", "/of"]\n`
    const account = { trigger: 'OnPull', serviceAccountName: 'lazy', retries: 0 }
    const spec = { ...account, source: { dockerfile }, output: { names: [names[name]] }, ...more }
    return { apiVersion, kind: 'Build', metadata: { name }, spec }
  }
  const pod = (name: 'there' | 'cached') => {
    const containers = [{ name: 'main', image: names[name], imagePullPolicy: 'IfNotPresent' }]
    const spec = { nodeName: 'node2', restartPolicy: 'Never', terminationGracePeriodSeconds: 0, containers }
    return { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec }
  }
  const cache = { to: ['type=registry,ref=reg.example.com/cache'] }
  await apply([build('there'), build('cached', { cache }), build('foreign')])
  const accepted = (name: string) => ['-o', 'jsonpath={.status.conditions[?(@.type=="Accepted")].message}', name]
  await kubectl('wait', '--for=condition=Accepted', 'build/there', 'build/cached', '--timeout=120s')
  await kubectl('wait', '--for=condition=Accepted=false', 'build/foreign', '--timeout=120s')
  expect(await kubectl('get', 'build', ...accepted('foreign'))).toContain('rule: tenant "lazy": names')

  await apply([pod('there'), pod('cached')])
  const events = (name: string) =>
    kubectl('get', 'events', '--field-selector', `involvedObject.name=${name}`, '-o', 'jsonpath={.items[*].message}')
  const refused = waitFor(
    'the kubelet to say why',
    async () => ((await events('cached')).includes('rule: tenant "lazy": cacheTo') ? true : undefined),
    { timeout: 120_000 },
  )
  const done = waitFor(
    'the pod to end',
    async () => (await kubectl('get', 'pod', 'there', '-o', 'jsonpath={.status.phase}')) === 'Succeeded' || undefined,
    { timeout: 120_000 },
  )
  await Promise.all([refused, done])
  expect((await kubectl('logs', 'there')).trim()).toBe(id)
  await kubectl('wait', '--for=condition=Succeeded', 'build/there', '--timeout=60s')
  expect(await kubectl('get', 'build', 'there', '-o', 'jsonpath={.status.node}')).toBe('node1')
  expect(await events('there')).toContain('not there, because')
})

it('an administrator prunes', async () => {
  await using door = await portForward(insitu.lab)
  const pruned = await run('buildctl', ['--addr', door.addr, 'prune', '--keep-storage=1000000'], { timeout: 60_000 })
  expect(pruned.exitCode).toBe(0)
})

it('a name that the node has and insitu did not build is refused even to an administrator, and stays what it was', async () => {
  await using door = await portForward(insitu.lab)
  await using context = await temporary()
  await writeFile(join(context.path, 'Dockerfile'), 'FROM busybox\nRUN echo stolen > /who\n')
  const name = defaultOptions().image
  const digest = () => digestOn(insitu.lab, 'node1', name)
  const before = await digest()
  const attempt = { addr: door.addr, context: context.path, name, opt: { 'insitu.node': 'node1' }, allow: [1] }
  const result = await buildctl(attempt)
  expect(result.stderr).toContain('rule: protected names')
  expect(before).toMatch(/^sha256:/)
  expect(await digest()).toBe(before)
})

it('a name of the node that somebody tags with another image there is put back at once, and it is reported', async () => {
  // As kubelets do it, only that nobody starts anything from it.
  const name = 'quay.io/library/busybox:latest'
  const ctr = (...args: string[]) => insitu.lab.exec('node1', ['ctr', '-n', 'k8s.io', 'images', ...args])
  const digest = () => digestOn(insitu.lab, 'node1', name)
  const reported = async (): Promise<boolean> =>
    (await insitu.agents())
      .get('node1')
      ?.report?.findings.some(
        ({ code, message }) => code === 'IMAGE_PUT_BACK' && message.startsWith(`${name} was overwritten`),
      ) ?? false
  await ctr('pull', '--hosts-dir', '/etc/containerd/certs.d', name)
  const before = await digest()
  // Again where the agent has not yet seen the image itself, and where the machine was too busy to measure a second.
  await waitFor(
    'the tag to be put back within a second',
    async () => {
      await ctr('tag', '--force', defaultOptions().image, name)
      const tagged = performance.now()
      await waitFor('its digest', async () => (await digest()) === before || undefined, {
        timeout: 30_000,
        interval: 50,
      })
      return performance.now() - tagged < 1000 || undefined
    },
    { timeout: 120_000 },
  )
  await waitFor('the report', async () => (await reported()) || undefined, { timeout: 60_000 })
  await ctr('rm', name)
})

it('a developer connects with a kubeconfig alone: token, certificate and port come through the API server', async () => {
  await using context = await temporary()
  await writeFile(
    join(context.path, 'Dockerfile'),
    `FROM busybox\nRUN echo ${id} > /id && dd if=/dev/zero of=/big bs=1M count=8\n`,
  )
  await writeFile(join(context.path, 'big'), randomBytes(8 << 20))
  const connect = (name: string) =>
    run(
      join(repository, 'bin/insitu'),
      [
        ...['connect', '--kubeconfig', insitu.lab.kubeconfig, '--service-account', `${red}/dev`],
        ...['--directory', join(context.path, 'tls'), '--', 'buildctl'],
        ...buildArguments({ addr: 'unset', context: context.path, name }).slice(2),
      ],
      { allow: [0, 1], timeout: 120_000 },
    )
  const name = `reg.example.com/dev/app:${id}`
  const mine = await connect(name)
  expect(mine.exitCode, mine.stderr).toBe(0)
  expect(await nodesWith(name)).toHaveLength(1)
  const other = await connect(`reg.example.com/${red}/app:${id}`)
  expect(other.exitCode).toBe(1)
  expect(other.stderr).toContain('rule: tenant "developers": names')
})

it('files that connect writes are good through a forwarded port, for buildctl and for buildx', async () => {
  await using door = await portForward(insitu.lab)
  await using context = await temporary()
  await writeFile(join(context.path, 'Dockerfile'), `FROM busybox\nLABEL files=${id}\n`)
  const directory = join(context.path, 'tls')
  const written = await run(
    join(repository, 'bin/insitu'),
    [
      ...['connect', '--kubeconfig', insitu.lab.kubeconfig, '--service-account', `${red}/dev`],
      ...['--address', door.addr.replace('tcp://', ''), '--directory', directory, '--output', 'json'],
    ],
    { timeout: 120_000 },
  )
  const { address, serverName, files } = JSON.parse(written.stdout) as {
    readonly address: string
    readonly serverName: string
    readonly files: Readonly<Record<'ca' | 'cert' | 'key', string>>
  }
  const tls = ['--tlsservername', serverName, '--tlsdir', directory]
  const byBuildctl = (name: string) =>
    run('buildctl', [...tls, ...buildArguments({ addr: address, context: context.path, name })], {
      allow: [0, 1],
      timeout: 120_000,
    })
  const mine = await byBuildctl(`reg.example.com/dev/files:${id}`)
  expect(mine.exitCode, mine.stderr).toBe(0)
  expect(await nodesWith(`reg.example.com/dev/files:${id}`)).toHaveLength(1)
  // The caller is the account of the files and not the door that everybody's loopback is.
  expect((await byBuildctl(`reg.example.com/${red}/files:${id}`)).stderr).toContain('rule: tenant "developers": names')

  const buildx = (...args: string[]) =>
    run(join(toolsBin, 'buildx'), args, {
      env: { BUILDX_CONFIG: join(context.path, 'buildx') },
      allow: [0, 1],
      timeout: 120_000,
    })
  const options = `cacert=${files.ca},cert=${files.cert},key=${files.key},servername=${serverName}`
  await buildx('create', '--name=files', '--driver=remote', `--driver-opt=${options}`, address)
  const build = (name: string) => buildx('build', '--builder=files', `--output=type=image,name=${name}`, context.path)
  const second = await build(`reg.example.com/dev/files-x:${id}`)
  expect(second.exitCode, second.stderr).toBe(0)
  expect(await nodesWith(`reg.example.com/dev/files-x:${id}`)).toHaveLength(1)
  expect((await build(`reg.example.com/${red}/files-x:${id}`)).stderr).toContain('rule: tenant "developers": names')
})

it('a bad edit of the policy keeps the one in force, and shows', async () => {
  await writePolicy(`${policy}\nnmaes = ["*"]\n`)
  await gatewaysSay((metrics) => /^insitu_policy_in_force 0$/m.test(metrics))
  const selector = ['-n', namespace, '-l', `${labels.role}=gateway`]
  const pod = await insitu.kubectl(['get', 'pods', ...selector, '-o', 'jsonpath={.items[0].metadata.name}'])
  const path = `/api/v1/namespaces/${namespace}/pods/${pod}:9375/proxy/readyz`
  expect(await insitu.kubectl(['get', '--raw', path])).toContain('the policy of before stays in force')
  const { log } = await inPod(red, 'builder', ...build(`reg.example.com/${blue}/app:v2`))
  expect(log).toContain('rule: tenant "teams": names')
  await writePolicy(policy)
  await gatewaysSay((metrics) => /^insitu_policy_in_force 1$/m.test(metrics))
})
