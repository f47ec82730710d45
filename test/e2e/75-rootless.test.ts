import { randomBytes, X509Certificate } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Build } from '../../src/api/builds/builds.ts'
import { labels, namespace, rootlessAgent } from '../../src/api/names.ts'
import { run, type RunResult } from '../../src/kernel/process/run.ts'
import { labBuildkitdToml } from '../lab/buildkitd-toml.ts'
import { buildInsituImage } from '../lab/images/insitu.ts'
import { ensureLab } from '../lab/lab.ts'
import { pushRegistry } from '../lab/layout.ts'
import { silent } from '../lab/progress.ts'
import { waitFor } from '../lab/wait.ts'
import { startBuild } from './fixtures/background.ts'
import { buildObject, condition, openBuilds } from './fixtures/builds.ts'
import { buildctl, type BuildOptions, type Installed, open, ready, repository, temporary } from './fixtures/insitu.ts'
import { portForward } from './fixtures/port-forward.ts'
import { type Publisher, startPublisher } from './fixtures/publisher.ts'
import { publishThree } from './fixtures/publishes.ts'

const id = randomBytes(3).toString('hex')
let insitu: Installed
let door: Awaited<ReturnType<typeof portForward>>

const cli = (args: readonly string[], allow: readonly number[] = []): Promise<RunResult> =>
  run(join(repository, 'bin/insitu'), args, {
    env: { KUBECONFIG: insitu.lab.kubeconfig },
    timeout: 280_000,
    allow: [0, ...allow],
  })

beforeAll(async () => {
  const lab = await ensureLab({ nodes: 2 })
  await buildInsituImage(silent)
  insitu = open(lab)
  await cli(['uninstall', '--delete-builds', '--grace', '1s'])
  await using directory = await temporary()
  const toml = join(directory.path, 'buildkitd.toml')
  await writeFile(toml, await labBuildkitdToml())
  await cli(['install', '--mode', 'rootless', '--buildkitd-toml', toml, '--allow-plaintext', '127.0.0.0/8'])
  door = await portForward(lab)
})
afterAll(async () => {
  await insitu?.kubectl(['delete', 'pods', '-l', `e2e=${id}`, '--wait=false', '--ignore-not-found'])
  await insitu?.kubectl(['label', 'node', 'node2', `${labels.mode}-`])
  await door?.[Symbol.asyncDispose]()
  // Who comes next installs again.
  await cli(['uninstall', '--delete-builds', '--grace', '1s'])
})

const image = (name: string): string => `${pushRegistry}/rootless/${id}-${name}:1`

async function build(dockerfile: string, more: Partial<BuildOptions> = {}): Promise<RunResult> {
  await using context = await temporary()
  await writeFile(join(context.path, 'Dockerfile'), `${dockerfile}\n`)
  await writeFile(join(context.path, 'secret'), 'whispered')
  return await buildctl({ addr: door.addr, context: context.path, ...more })
}

const push = (name: string): readonly string[] => ['--output', `type=image,name=${image(name)},push=true`]

async function podLog(spec: object, name = `rootless-${randomBytes(4).toString('hex')}`, home = 'default') {
  const pod = {
    ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: home, labels: { e2e: id } } },
    spec: { restartPolicy: 'Never', terminationGracePeriodSeconds: 0, ...spec },
  }
  await insitu.kubectl(['apply', '-f', '-'], JSON.stringify(pod))
  return await waitFor(
    `${name} to end`,
    async () => {
      const phase = await insitu.kubectl(['-n', home, 'get', 'pod', name, '-o', 'jsonpath={.status.phase}'])
      return /Succeeded|Failed/.test(phase) ? await insitu.kubectl(['-n', home, 'logs', name]) : undefined
    },
    { timeout: 170_000, interval: 500 },
  )
}

/** Command lines of processes on a node. */
const processes = async (node: string): Promise<string> => (await insitu.lab.exec(node, ['ps', '-eo', 'args'])).stdout

describe('a cluster that forbids privileged pods', () => {
  it('has agents in a namespace where Pod Security enforces baseline', async () => {
    const privileged = insitu.kubectl(['-n', namespace, 'run', 'no', '--image=busybox', '--privileged'])
    await expect(privileged).rejects.toThrow('violates PodSecurity "baseline')
    for (const { report } of (await insitu.agents()).values()) {
      expect(report).toMatchObject({ ready: true, mode: 'rootless', network: 'pod', containerd: '' })
      expect(report?.snapshotter).toMatch(/^(overlayfs|native)$/)
      // How full the machine's disk is, is not the matter here.
      const findings = report?.findings.filter(({ code }) => !/^(DISK|INODES)_LOW$/.test(code))
      expect(findings).toEqual([expect.objectContaining({ code: 'ROOTLESS', severity: 'info' })])
    }
    expect((await cli(['nodes'])).stdout).toContain('rootless')
    const usage: unknown = JSON.parse((await cli(['du', '-o', 'json'])).stdout)
    expect(usage).toEqual({ nodes: [], rootless: [...insitu.lab.nodes].sort(), failed: [] })
  })

  it('builds with other users, secrets and the network of pods, pushes, and a pod runs the image', async () => {
    const dockerfile = `FROM busybox
LABEL name=${id}-app
RUN touch /owned && chown 65534:1000 /owned && mkdir /dir
RUN --mount=type=secret,id=key cat /run/secrets/key > /heard
RUN wget -qO- http://${pushRegistry}/v2/ && grep cluster.local /etc/resolv.conf
USER 1234
RUN id -u | grep 1234
USER 0
CMD ["sh", "-c", "ls -ldn /owned /dir; cat /heard; id -u"]`
    await using context = await temporary()
    await writeFile(join(context.path, 'Dockerfile'), dockerfile)
    await writeFile(join(context.path, 'key'), 'whispered')
    await buildctl({
      ...{ addr: door.addr, context: context.path },
      args: [...push('app'), '--secret', `id=key,src=${join(context.path, 'key')}`],
    })
    const log = await podLog({ containers: [{ name: 'main', image: image('app') }] })
    expect(log).toMatch(/-rw-r--r--\s+1 65534\s+1000 .*\/owned/)
    // Without a set-group-ID bit that the volume of the pod could have left.
    expect(log).toMatch(/drwxr-xr-x\s+2 0\s+0 .*\/dir/)
    expect(log).toContain('whispered')
  })

  it('refuses an image that is only to stay, and says what to do', async () => {
    const refused = await build('FROM busybox', { name: 'docker.io/library/stays:1', allow: [1] })
    expect(refused.stderr).toContain(
      'images cannot stay on the nodes here: insitu runs rootless, without access to their containerd',
    )
    expect(refused.stderr).toContain('push=true')
  })

  it('gives files, archives and layouts to the client', async () => {
    await using out = await temporary()
    const dockerfile = `FROM scratch\nCOPY secret /secret`
    const at = (name: string): string => join(out.path, name)
    await mkdir(at('files'))
    await build(dockerfile, { args: ['--output', `type=local,dest=${at('files')}`] })
    expect(await readFile(at('files/secret'), 'utf8')).toBe('whispered')
    for (const type of ['tar', 'oci', 'docker']) {
      await build(dockerfile, { args: ['--output', `type=${type},dest=${at(type)}`] })
      const { stdout } = await run('tar', ['tf', at(type)])
      expect(stdout).toContain({ tar: 'secret', oci: 'oci-layout', docker: 'manifest.json' }[type])
    }
  })

  it('a daemon that is killed takes its RUN steps with it, and the next one builds', async () => {
    await using context = await temporary()
    await writeFile(
      join(context.path, 'Dockerfile'),
      `FROM busybox\nRUN echo started-${id} && sleep 4711 && echo never\n`,
    )
    const lost = startBuild({
      ...{ addr: door.addr, context: context.path, opt: { 'insitu.node': 'node1' }, args: ['--no-cache'] },
    })
    // The step's own output, not its echo of the command.
    await waitFor('the step', async () => new RegExp(`\\d started-${id}`).test(lost.output()) || undefined, {
      timeout: 60_000,
    })
    expect(await processes('node1')).toContain('sleep 4711')
    await insitu.lab.exec('node1', ['sh', '-c', 'kill -9 $(pgrep -x buildkitd)'])
    expect((await lost.ended).code).toBe(1)
    await waitFor('the step to end', async () => !(await processes('node1')).includes('sleep 4711') || undefined, {
      timeout: 30_000,
    })
    await waitFor(
      'the next daemon',
      () => build(`FROM busybox\nRUN echo ${id}`, { opt: { 'insitu.node': 'node1' } }).catch(() => undefined),
      { timeout: 60_000, interval: 1000 },
    )
  })
})

describe('a service that publishes models, with Jobs of its own (config/examples/model-publish)', () => {
  let publisher: Publisher
  beforeAll(async () => {
    publisher = await startPublisher(insitu, 'rootless')
    // The overlay installs insitu as well: without the option with which this file did.
    await ready(insitu)
  })
  afterAll(async () => {
    await publisher?.close()
  })

  it('publishes, looks every 30 s, and leaves nothing after success, failure and time-out', async () => {
    const began = Date.now()
    const published = await publishThree(insitu, publisher, { id, sleep: 4713 })
    expect(Date.now() - began).toBeGreaterThan(30_000)
    expect(await podLog({ containers: [{ name: 'main', image: published }] })).toContain('weights')
  })

  it('builds with the certificates in buildkit-client-certs, which are those of its account', async () => {
    const data = await publisher.kubectl('get', 'secret', 'buildkit-client-certs', '-o', 'jsonpath={.data.cert\\.pem}')
    const { subjectAltName } = new X509Certificate(Buffer.from(data, 'base64'))
    expect(subjectAltName).toContain('spiffe://insitu.build/ns/model-publish/sa/model-publish-buildkit')
  })
})

// One waits for a kubelet that tries again; the others have their turn meanwhile.
describe.concurrent('both modes in one cluster', () => {
  beforeAll(async () => {
    await insitu.kubectl(['label', 'node', 'node2', `${labels.mode}=rootless`])
    await cli(['install', '--mode', 'mixed', '--allow-plaintext', '127.0.0.0/8'])
    await door[Symbol.asyncDispose]()
    door = await portForward(insitu.lab)
  })

  it('the label of the node says which agent it gets', async ({ expect }) => {
    const modes = [...(await insitu.agents())].map(
      ([node, { report }]) => [node, { mode: report?.mode, containerd: report?.containerd }] as const,
    )
    const shared = { mode: undefined, containerd: expect.stringMatching(/^\d/) as string }
    const expected = insitu.lab.nodes.map((node) => [node, shared])
    expect(Object.fromEntries(modes)).toEqual({
      ...Object.fromEntries(expected),
      node2: { mode: 'rootless', containerd: '' },
    })
  })

  it('preflight says what the kernel, a seccomp profile and Pod Security "restricted" lack, in a pod as the agent has it', async ({
    expect,
  }) => {
    const path = 'jsonpath={.spec.template.spec}'
    const text = await insitu.kubectl(['-n', namespace, 'get', 'ds', rootlessAgent, '-o', path])
    const { containers, volumes, securityContext, ...rest } = JSON.parse(text) as Agent
    const [agent] = containers
    const said = (pod: object, own: object): Promise<string> =>
      podLog(
        {
          ...{ ...rest, volumes, restartPolicy: 'Never', terminationGracePeriodSeconds: 0 },
          securityContext: { ...securityContext, ...pod },
          containers: [
            {
              ...{ name: 'doctor', image: agent?.image, args: ['doctor', '--rootless'], env: agent?.env },
              ...{ volumeMounts: agent?.volumeMounts, securityContext: { ...agent?.securityContext, ...own } },
            },
          ],
        },
        `doctor-${randomBytes(4).toString('hex')}`,
        namespace,
      )
    // A kernel without user namespaces, for this one pod: in a user namespace of its own, the limit of which it may set.
    const none = 'echo 0 > /proc/sys/user/max_user_namespaces && exec insitu doctor --rootless'
    const [asItIs, kernel, seccomp, restricted] = await Promise.all([
      said({}, {}),
      podLog({
        containers: [
          {
            ...{ name: 'doctor', image: agent?.image, securityContext: { privileged: true, runAsUser: 0 } },
            command: ['unshare', '--user', '--map-root-user', 'sh', '-c', none],
          },
        ],
      }),
      said({ seccompProfile: { type: 'RuntimeDefault' } }, {}),
      said({}, { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } }),
    ])
    expect(asItIs).not.toMatch(/_FORBIDS|NO_NEW_PRIVILEGES|_MISSING/)
    expect(kernel).toContain('USERNS_DISABLED')
    expect(kernel).toContain('sysctl -w user.max_user_namespaces')
    expect(seccomp).toContain('SECCOMP_FORBIDS')
    expect(seccomp).toContain('leave seccompProfile away')
    expect(restricted).toContain('NO_NEW_PRIVILEGES')
    expect(restricted).toContain('pod-security.kubernetes.io/enforce: baseline')
  })

  it('a pull on a node without a mirror has the image built and pushed, and the pod starts; without push the Build says so', async ({
    expect,
  }) => {
    await using home = await openBuilds(insitu, `lazy-${id}`)
    const lazy = (name: string, output: object) => {
      const dockerfile = `FROM busybox\nCMD ["echo", "${name} of ${id}"]\n`
      return buildObject(name, { trigger: 'OnPull', source: { dockerfile }, output })
    }
    const stays = `images.internal/${id}/lazy:1`
    await home.apply(
      lazy('pushed', { names: [image('lazy')], push: true, insecure: true }),
      lazy('stays', { names: [stays] }),
    )
    const known = ({ status }: Build): boolean => status?.pulls !== undefined
    await Promise.all([home.seen('pushed', 'to be known', known), home.seen('stays', 'to be known', known)])
    const spec = (of: string) => ({ nodeName: 'node2', containers: [{ name: 'main', image: of }] })
    const waits = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'waits' }, spec: spec(stays) }
    await home.apply(waits)
    expect(await podLog(spec(image('lazy')), 'runs', `lazy-${id}`)).toContain(`pushed of ${id}`)
    const pushed = await home.seen('pushed', 'to have been built', ({ status }) => status?.phase === 'Succeeded')
    expect(pushed.status).toMatchObject({ node: 'node2', names: [image('lazy')] })
    const unserved = await home.seen(
      'stays',
      'to say so',
      (build) => condition(build, 'Accepted')?.reason === 'NotServed',
    )
    expect(condition(unserved, 'Accepted')?.message).toContain('the image has to be pushed')
  })

  it('an image that stays is built where it can, and nowhere else', async ({ expect }) => {
    const name = `registry.example.test/${id}/stays:1`
    const built = await build(`FROM busybox\nLABEL name=${id}-stays`, { name })
    expect(built.stderr).toMatch(/\[insitu\] node node[13]:/)
    const refused = await build('FROM busybox', { name, opt: { 'insitu.node': 'node2' }, allow: [1] })
    expect(refused.stderr).toContain('node node2 cannot keep images (it builds rootless: push the image instead)')
    await build(`FROM busybox\nLABEL name=${id}-both`, { opt: { 'insitu.node': 'node2' }, args: push('both') })
    const spec = { nodeName: 'node1', containers: [{ name: 'main', image: image('both'), command: ['echo', 'ran'] }] }
    expect(await podLog(spec)).toContain('ran')
  })
})

/** What a DaemonSet says of the pods of agents. */
interface Agent {
  readonly containers: readonly {
    readonly image: string
    readonly env: unknown
    readonly volumeMounts: unknown
    readonly securityContext: object
  }[]
  readonly volumes: unknown
  readonly securityContext: object
}
