import { randomBytes } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { run } from '../../src/kernel/process/run.ts'
import { waitFor } from '../lab/wait.ts'
import { buildctl, ensureInstalled, type Installed, temporary } from './fixtures/insitu.ts'
import { podEvents, podStatus, runPod } from './fixtures/pods.ts'
import { portForward } from './fixtures/port-forward.ts'

let insitu: Installed
let door: Awaited<ReturnType<typeof portForward>>
const id = randomBytes(3).toString('hex')
const image = (name: string): string => `example.test/${id}/${name}:v1`

beforeAll(async () => {
  insitu = await ensureInstalled()
  door = await portForward(insitu.lab)
})
afterAll(async () => {
  await insitu?.kubectl(['delete', 'pods', '-l', `e2e=${id}`, '--wait=false', '--ignore-not-found'])
  await door?.[Symbol.asyncDispose]()
})

/** Names in a node's containerd, as the kubelet sees them. */
const images = async (node: string): Promise<string[]> =>
  (await insitu.lab.exec(node, ['ctr', '-n', 'k8s.io', 'images', 'ls', '-q'])).stdout.split('\n')

describe('a build on port 2375 and the pod that uses it', () => {
  it('lists one worker for each node', async () => {
    const { stdout } = await run('buildctl', ['--addr', door.addr, 'debug', 'workers', '-v'])
    for (const node of insitu.lab.nodes) expect(stdout).toContain(node)
    expect(stdout.match(/linux\/amd64/g)?.length).toBeGreaterThanOrEqual(insitu.lab.nodes.length)
  })

  it.each(['node1', 'node2'])(
    'builds on %s when told so, and the pod starts there with nothing pulled',
    async (node) => {
      await using context = await temporary()
      await writeFile(
        join(context.path, 'Dockerfile'),
        'FROM busybox\nCOPY message /message\nCMD ["cat", "/message"]\n',
      )
      await writeFile(join(context.path, 'message'), `built for ${node}\n`)
      const name = image(`said-${node}`)
      const build = await buildctl({ addr: door.addr, context: context.path, name, opt: { 'insitu.node': node } })
      expect(build.stderr).toContain(`[insitu] node ${node}:`)
      expect(await images(node)).toContain(name)
      for (const other of insitu.lab.nodes.filter((n) => n !== node)) expect(await images(other)).not.toContain(name)

      const pod = await runPod(insitu, { label: id, image: name, node })
      const done = await waitFor(
        'the pod to end',
        async () => {
          const status = await podStatus(insitu, pod)
          return status.phase === 'Succeeded' ? status : undefined
        },
        { timeout: 60_000 },
      )
      expect(done.phase).toBe('Succeeded')
      expect(await insitu.kubectl(['logs', pod])).toContain(`built for ${node}`)
      // imagePullPolicy Never: the kubelet says that the image was there; with a pull it would say "Pulling".
      expect(await podEvents(insitu, pod)).not.toContain('Pulling')
    },
  )

  it('refuses a node that does not exist and names those that do', async () => {
    await using context = await temporary()
    await writeFile(join(context.path, 'Dockerfile'), 'FROM scratch\nCOPY Dockerfile /\n')
    const build = await buildctl({
      addr: door.addr,
      context: context.path,
      name: image('nowhere'),
      opt: { 'insitu.node': 'node9' },
      allow: [1],
    })
    expect(build.exitCode).toBe(1)
    expect(build.stderr).toContain('node9')
    expect(build.stderr).toMatch(/node1.*node2/)
  })

  it('gives RUN steps secrets, ssh agents and bind mounts', async () => {
    await using context = await temporary()
    await using agent = await sshAgent(context.path)
    await mkdir(join(context.path, 'src'))
    await writeFile(join(context.path, 'src/input'), 'bound')
    await writeFile(
      join(context.path, 'Dockerfile'),
      `FROM busybox
RUN --mount=type=secret,id=token test "$(cat /run/secrets/token)" = open-sesame
RUN --mount=type=ssh test -S "$SSH_AUTH_SOCK"
RUN --mount=type=bind,source=src,target=/in test "$(cat /in/input)" = bound && touch /proof
CMD ["true"]
`,
    )
    await writeFile(join(context.path, '.dockerignore'), 'token\nagent*\nkey*\n')
    await writeFile(join(context.path, 'token'), 'open-sesame')
    const name = image('mounts')
    await buildctl({
      addr: door.addr,
      context: context.path,
      name,
      opt: { 'insitu.node': 'node1' },
      args: ['--secret', `id=token,src=${join(context.path, 'token')}`, '--ssh', `default=${agent.socket}`],
    })
    expect(await images('node1')).toContain(name)
  })

  it('carries a context of 200 MB', async () => {
    await using context = await temporary()
    const size = 200 * 2 ** 20
    await pipeline(
      Readable.from(
        (function* () {
          for (let written = 0; written < size; written += 2 ** 20) yield randomBytes(2 ** 20)
        })(),
      ),
      createWriteStream(join(context.path, 'big')),
    )
    await writeFile(
      join(context.path, 'Dockerfile'),
      `FROM busybox\nRUN --mount=type=bind,target=/c test "$(stat -c %s /c/big)" = ${size} && touch /ok\n`,
    )
    const name = image('big')
    await buildctl({ addr: door.addr, context: context.path, name, opt: { 'insitu.node': 'node2' }, timeout: 280_000 })
    expect(await images('node2')).toContain(name)
  })

  it('builds several stages, and FROM a name that only this node has, without asking a registry', async () => {
    await using base = await temporary()
    await writeFile(
      join(base.path, 'Dockerfile'),
      'FROM busybox AS tools\nRUN echo made > /made\nFROM scratch\nCOPY --from=tools /bin /bin\nCOPY --from=tools /made /made\n',
    )
    // This registry's name resolves to nothing: any attempt to ask it would fail or take seconds.
    const baseName = `registry.invalid/${id}/base:v1`
    await buildctl({ addr: door.addr, context: base.path, name: baseName, opt: { 'insitu.node': 'node1' } })
    await using app = await temporary()
    await writeFile(join(app.path, 'Dockerfile'), `FROM ${baseName}\nRUN test "$(cat /made)" = made\n`)
    const name = image('on-local-base')
    const build = await buildctl({ addr: door.addr, context: app.path, name, opt: { 'insitu.node': 'node1' } })
    expect(await images('node1')).toContain(name)
    const metadata = /load metadata for registry\.invalid\S*\n(?:.*\n)*?#\d+ DONE ([\d.]+)s/.exec(build.stderr)
    expect(Number(metadata?.[1])).toBeLessThan(2)
  })
})

describe('placement', () => {
  it.each(['node1', 'node2'])(
    'a pod that waits on %s draws the build there and runs within 2 s of its end',
    async (node) => {
      await using context = await temporary()
      await writeFile(
        join(context.path, 'Dockerfile'),
        `FROM busybox\nRUN echo ${node} > /node\nCMD ["sleep", "3600"]\n`,
      )
      const name = image(`waited-${node}`)
      const pod = await runPod(insitu, { label: id, image: name, node })
      await waitFor(
        'the kubelet to say that the image is missing',
        async () => ((await podStatus(insitu, pod)).waiting === 'ErrImageNeverPull' ? true : undefined),
        { timeout: 60_000 },
      )
      const build = await buildctl({ addr: door.addr, context: context.path, name })
      const ended = Date.now()
      expect(build.stderr).toContain(`[insitu] node ${node}: pod default/${pod} waits there for ${name}`)
      const started = await waitFor('the pod to run', async () => (await podStatus(insitu, pod)).startedAt, {
        timeout: 30_000,
        interval: 100,
      })
      // Kubernetes tells the second it started in, cut off.
      expect(started - ended).toBeLessThanOrEqual(2000)
    },
  )

  it('a rebuild goes where the pods of a workload that rolls in place run the image', async () => {
    await using context = await temporary()
    await writeFile(join(context.path, 'Dockerfile'), 'FROM busybox\nCMD ["sleep", "3600"]\n')
    const repository = `example.test/${id}/pinned`
    await buildctl({
      addr: door.addr,
      context: context.path,
      name: `${repository}:v1`,
      opt: { 'insitu.node': 'node2' },
    })
    const app = `pinned-${id}`
    const container = { name: 'main', image: `${repository}:v1`, imagePullPolicy: 'Never' }
    const deployment = {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: app },
      spec: {
        selector: { matchLabels: { app } },
        template: {
          metadata: { labels: { app } },
          spec: {
            nodeSelector: { 'kubernetes.io/hostname': 'node2' },
            terminationGracePeriodSeconds: 0,
            containers: [container],
          },
        },
      },
    }
    await insitu.kubectl(['apply', '-f', '-'], JSON.stringify(deployment))
    try {
      await insitu.kubectl(['rollout', 'status', `deployment/${app}`, '--timeout=60s'])
      await writeFile(join(context.path, 'Dockerfile'), 'FROM busybox\nRUN echo v2\nCMD ["sleep", "3600"]\n')
      const build = await buildctl({ addr: door.addr, context: context.path, name: `${repository}:v2` })
      expect(build.stderr).toContain('[insitu] node node2:')
      expect(build.stderr).toContain(app)
      // And so the update finds it there.
      await insitu.kubectl(['set', 'image', `deployment/${app}`, `main=${repository}:v2`])
      await insitu.kubectl(['rollout', 'status', `deployment/${app}`, '--timeout=60s'])
    } finally {
      await insitu.kubectl(['delete', 'deployment', app, '--wait=false'])
    }
  })

  it('any other build says where it went, and stays there for its cache', async () => {
    await using context = await temporary()
    await writeFile(join(context.path, 'Dockerfile'), 'FROM busybox\nRUN echo anywhere\n')
    const nodes = new Set<string>()
    for (let i = 0; i < 3; i++) {
      const build = await buildctl({
        addr: door.addr,
        context: context.path,
        name: `example.test/${id}/anywhere:v${i}`,
      })
      nodes.add(/\[insitu\] node (\S+):/.exec(build.stderr)?.[1] ?? 'none')
    }
    expect(nodes.size).toBe(1)
    expect(insitu.lab.nodes).toContain([...nodes][0])
  })
})

/** A real ssh-agent with a fresh key. */
async function sshAgent(directory: string): Promise<{ socket: string } & AsyncDisposable> {
  const socket = join(directory, 'agent.sock')
  const key = join(directory, 'key')
  const { stdout } = await run('ssh-agent', ['-a', socket])
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key])
  await run('ssh-add', ['-q', key], { env: { SSH_AUTH_SOCK: socket } })
  const pid = Number(/SSH_AGENT_PID=(\d+)/.exec(stdout)?.[1])
  return { socket, [Symbol.asyncDispose]: async () => void process.kill(pid, 'SIGTERM') }
}
