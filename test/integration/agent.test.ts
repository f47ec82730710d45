import { existsSync } from 'node:fs'
import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { watchSteps } from '../../src/agent/steps/watch.ts'
import { createLogger } from '../../src/kernel/log.ts'
import { startAgent, type TestAgent } from './fixtures/agent.ts'
import { type Inside, type Output, startNode, type TestNode } from './fixtures/containerd.ts'
import { until } from './fixtures/until.ts'

const program = fileURLToPath(new URL('../../bin/insitu', import.meta.url))

/** @param gateway of the network of RUN steps, which is what the network of the machine leaves free. */
const dockerfile = (gateway: string): string => `FROM scratch AS base
COPY busybox /bin/busybox
RUN ["/bin/busybox", "mkdir", "-p", "/proc", "/tmp"]
FROM base
SHELL ["/bin/busybox", "sh", "-c"]
RUN --mount=type=secret,id=word --mount=type=bind,target=/ctx \\
  test "$(/bin/busybox cat /run/secrets/word)" = opensesame && /bin/busybox test -x /ctx/busybox
RUN /bin/busybox ip route > /route && /bin/busybox wget -q -O /from-pod http://${gateway}:8099/who; \\
  /bin/busybox wget -q -T 2 -O /from-node http://127.0.0.1:8098/who || /bin/busybox rm -f /from-node
CMD ["/bin/busybox", "cat", "/from-pod", "/route"]
`

/** Ends once the process that runs it is the kernel's first choice; fails after ten seconds. */
const untilFirst =
  'i=0; until [ "$(busybox cat /proc/self/oom_score_adj)" = 1000 ]; do i=$((i+1)); [ $i -lt 100 ] || exit 1; busybox sleep 0.1; done'
const longStep = `FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", ${JSON.stringify(`busybox mkdir -p /proc /tmp; ${untilFirst}; until [ -e /go ]; do busybox sleep 0.1; done`)}]
`

const forwarding = '/proc/sys/net/ipv4/ip_forward'

let node: TestNode
let pod: Inside
let agent: TestAgent
let mountsBefore: string[]
let podMountsBefore: string[]
let context: string
let gateway: string

beforeAll(async () => {
  node = await startNode()
  pod = await node.pod()
  await pod.ok('sh', ['-c', `echo 0 > ${forwarding}`])
  mountsBefore = await node.mounts()
  podMountsBefore = await pod.mounts()
  context = join(node.directory, 'context')
  await mkdir(context)
  await copyFile('/bin/busybox', join(context, 'busybox'))
  await writeFile(join(context, 'word'), 'opensesame')
  await writeFile(join(context, 'who'), 'the network of the pod\n')
  agent = startAgent(node, pod)
  await agent.ready()
  gateway = / inet ([\d.]+)\//.exec(await pod.ok('ip', ['-o', '-4', 'address', 'show', 'buildkit0']))?.[1] ?? ''
  await writeFile(join(context, 'Dockerfile'), dockerfile(gateway))
})

afterAll(async () => {
  await agent?.stop()
  await node?.stop()
})

/** An ended process may stay as a zombie, since nobody waits for orphans in the node's namespace. */
const isRunning = async (pid: number): Promise<boolean> =>
  (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')) !== ''

const build = (name: string, ...more: string[]) =>
  agent.buildctl([
    ...['build', '--progress', 'plain', '--frontend', 'dockerfile.v0', '--local', `context=${context}`],
    ...['--local', `dockerfile=${context}`, '--secret', `id=word,src=${context}/word`],
    ...['--output', `type=image,name=docker.io/test/${name}:v1,unpack=true`, ...more],
  ])

/**
 * A step that waits until it is the kernel's first choice, and until a process that joined it says so of itself.
 * @returns how the build ended, and the score of a container of somebody else's, which keeps what containerd gave it.
 */
async function withLongStep(): Promise<Output & { readonly other: number }> {
  const directory = join(node.directory, 'long-step')
  await mkdir(directory, { recursive: true })
  await writeFile(join(directory, 'Dockerfile'), longStep)
  const before = new Set((await node.ctr(['containers', 'ls', '-q'])).split('\n'))
  const building = agent.buildctl([
    ...['build', '--progress', 'plain', '--no-cache', '--frontend', 'dockerfile.v0', '--local', `context=${context}`],
    ...['--local', `dockerfile=${directory}`],
  ])
  const id = await until('the container of the step', async () => {
    const tasks = await node.ctr(['tasks', 'ls'])
    return tasks
      .split('\n')
      .map((line) => line.split(/\s+/))
      .find(([name = '', , status]) => status === 'RUNNING' && !before.has(name))?.[0]
  })
  const pid = Number(
    (await node.ctr(['tasks', 'ls']))
      .split('\n')
      .find((line) => line.startsWith(id))
      ?.split(/\s+/)[1],
  )
  const seen = new Set<number>()
  const stop = watchSteps({
    ...{ containerd: `/proc/${node.pid}/root${node.address}`, namespace: 'k8s.io', root: node.buildkitRoot },
    log: createLogger({ level: 'silent' }),
    onProcess: (one) => Promise.resolve(void seen.add(one)),
  })
  // It began before this watch did.
  try {
    await until('the step to be seen', () => seen.has(pid))
  } finally {
    await stop()
  }
  const joined = ['tasks', 'exec', '--exec-id', 'joined', id, '/bin/busybox', 'sh', '-c']
  await node.ctr([...joined, `${untilFirst}; echo > /go`])
  const result = await building
  const own = ['run', '--rm', 'docker.io/test/first:v1', `other-${id}`, '/bin/busybox', 'sh', '-c']
  const score = await node.ctr([...own, 'busybox sleep 1; busybox cat /proc/self/oom_score_adj'])
  return { ...result, other: Number(score) }
}

describe('a node with an agent', () => {
  it('builds an image with a secret and a bind mount, and the container starts from it', async () => {
    pod.start('busybox', ['httpd', '-f', '-p', '8099', '-h', context])
    node.start('busybox', ['httpd', '-f', '-p', '127.0.0.1:8098', '-h', context])
    const result = await build('first')
    expect(result.stderr).toContain('exporting to image')
    expect(result.code, result.stderr).toBe(0)
    const output = await node.ctr(['run', '--rm', '--snapshotter', 'overlayfs', 'docker.io/test/first:v1', 'one'])
    expect(output).toContain('the network of the pod')
    // The default route leads to the bridge in the agent's network, not out of the node.
    expect(output).toContain(`default via ${gateway} `)
    expect(await pod.ok('ip', ['-o', 'link'])).toContain('buildkit0')
    expect(await node.ok('ip', ['-o', 'link'])).not.toContain('buildkit0')
  })

  it('gives RUN steps no way to the node’s loopback', async () => {
    const output = await node.ctr(['run', '--rm', 'docker.io/test/first:v1', 'two', '/bin/busybox', 'ls', '/'])
    expect(output).toContain('from-pod')
    expect(output).not.toContain('from-node')
  })

  it('makes RUN steps the first that the kernel ends when memory runs out, and what joins them', async () => {
    const { code, stderr, other } = await withLongStep()
    expect(code, stderr).toBe(0)
    expect(other).toBeLessThan(1000)
  })

  it('starts the daemon again when it is killed, and the next build works', async () => {
    const seen = agent.lines().length
    process.kill(await agent.daemonPid(), 'SIGKILL')
    await agent.waitFor('the cause', (line) => line.msg.includes('killed by SIGKILL'), seen)
    await agent.ready(seen)
    expect((await build('second')).code).toBe(0)
  })

  it('refuses a second agent on the same root, which then changes nothing', async () => {
    const files = (await readdir(node.buildkitRoot)).sort()
    const other = startAgent(node, await node.pod(), { args: ['--run-directory', join(node.directory, 'other')] })
    const line = await other.waitFor('the refusal', (l) => l.code === 'LOCKED' || l.code === 'NAMESPACE_IN_USE')
    expect(line.fix).toMatch(/stop/)
    expect(await other.stop()).toBe(0)
    expect((await readdir(node.buildkitRoot)).sort()).toEqual(files)
    expect(existsSync(join(node.directory, 'other'))).toBe(false)
    expect((await build('third')).code).toBe(0)
  })

  it('is asked by a program in its pod what its images were built on', async () => {
    const said = await pod.ok(program, ['ask-agent', 'origins', '--socket', '/run/buildkit/insitu.sock'])
    // Who built what is known from gateways, of which there is none here.
    expect(JSON.parse(said)).toEqual({ node: 'test', images: [] })
  })

  it('is no finding of a doctor on the same node', async () => {
    const args = ['doctor', '--root', node.buildkitRoot, '--config', join(node.directory, 'none.toml')]
    // It says what would keep the mirror from being asked.
    await mkdir(join(node.directory, 'certs.d/old.test'), { recursive: true })
    await writeFile(join(node.directory, 'certs.d/old.test/ca.crt'), 'a certificate')
    const { code, stdout, stderr } = await pod.run(program, [...args, '--output', 'json'])
    expect(code, stdout + stderr).toBe(0)
    expect(stderr).toBe('')
    const report = JSON.parse(stdout) as { findings: { code: string }[]; agent: number }
    expect(report.findings.map((finding) => finding.code)).not.toContain('NAMESPACE_IN_USE')
    expect(report.findings.filter(({ code }) => code.startsWith('MIRROR'))).toMatchObject([
      { code: 'MIRROR_HOST_FILE', message: expect.stringContaining('certs.d/old.test/hosts.toml') as string },
    ])
    expect(report.agent).toBeGreaterThan(1)
    expect((await pod.run(program, args)).stdout).toMatch(/agent: +runs/)
  })

  it('has its proxies shown by a doctor, without passwords, with what no proxy is asked for and what is wrong', async () => {
    // As a gateway has told the agent that runs here.
    await pod.ok('sh', ['-c', 'echo -n 10.96.0.0/16,.svc > /run/buildkit/insitu-no-proxy'])
    const args = ['doctor', '--root', node.buildkitRoot, '--config', join(node.directory, 'none.toml')]
    const env = { HTTP_PROXY: 'http://builder:s3cr3t@127.0.0.1:9', https_proxy: 'builder:s3cr3t', NO_PROXY: 'lan.test' }
    const { stdout, stderr } = await pod.run(program, args, { env })
    expect(stdout).toMatch(/^HTTP_PROXY: +http:\/\/\*\*\*@127\.0\.0\.1:9$/m)
    expect(stdout).toMatch(/^HTTPS_PROXY: +\*\*\* \(is not the URL of a proxy\)$/m)
    expect(stdout).toMatch(/^NO_PROXY: +lan\.test,10\.96\.0\.0\/16,\.svc$/m)
    expect(stdout).toMatch(/PROXY_UNREACHABLE: the proxy http:\/\/\*\*\*@127\.0\.0\.1:9 cannot be reached .*\n +fix: /)
    expect(stdout).toMatch(/PROXY_URL: HTTPS_PROXY .*\n +fix: /)
    expect(stdout + stderr).not.toContain('s3cr3t')
    await pod.ok('rm', ['/run/buildkit/insitu-no-proxy'])
  })

  it('sets a damaged database aside and says so', async () => {
    const database = join(node.buildkitRoot, 'containerd-overlayfs', 'metadata_v2.db')
    const seen = agent.lines().length
    await writeFile(database, Buffer.alloc(65_536, 0x5a))
    process.kill(await agent.daemonPid(), 'SIGKILL')
    const line = await agent.waitFor('the message', (l) => Array.isArray(l['moved']), seen)
    expect(line['moved']).toEqual([database])
    await agent.ready(seen)
    expect(await readdir(join(node.buildkitRoot, 'containerd-overlayfs'))).toContainEqual(
      expect.stringMatching(/^metadata_v2\.db\.broken-/),
    )
    expect((await build('fourth')).code).toBe(0)
  })

  it('sweeps what a daemon that died left behind', async () => {
    const seen = agent.lines().length
    const left = join(node.buildkitRoot, 'local-mnt-src', 'buildkit-secrets123')
    await pod.ok('mkdir', ['-p', left])
    await pod.ok('mount', ['-t', 'tmpfs', 'leftover', left])
    expect((await node.mounts()).some((line) => line.startsWith(left))).toBe(true)
    process.kill(await agent.daemonPid(), 'SIGKILL')
    await agent.ready(seen)
    expect((await node.mounts()).filter((line) => line.startsWith(left))).toEqual([])
    expect(existsSync(left)).toBe(false)
  })

  it('goes on when containerd is started again', async () => {
    await node.stopContainerd()
    await node.startContainerd()
    const result = await until('a build to succeed', async () => {
      const tried = await build('after-restart', '--no-cache')
      return tried.code === 0 && tried
    })
    expect(result.code).toBe(0)
    expect((await withLongStep()).code).toBe(0)
  })

  it('ends its daemon when it is killed itself, and the next agent takes over', async () => {
    const daemon = await agent.daemonPid()
    await agent.kill()
    await until('buildkitd to end with its agent', async () => !(await isRunning(daemon)))
    agent = startAgent(node, pod)
    await agent.ready()
    expect((await build('fifth')).code).toBe(0)
  })

  it('puts mounts, sockets, locks and network back when it ends, and leaves the networks of others', async () => {
    expect((await pod.ok('cat', [forwarding])).trim()).toBe('1')
    // As another CNI network that publishes a port, and Docker, make them meanwhile.
    const published = 'CNI-DN-0123456789abcdef01234'
    await pod.ok('iptables', ['-t', 'nat', '-N', published])
    await pod.ok('ip', ['link', 'add', 'docker0', 'type', 'bridge'])
    expect(await agent.stop()).toBe(0)
    expect(await node.mounts()).toEqual(mountsBefore)
    expect(await pod.mounts()).toEqual(podMountsBefore)
    const left = await readdir(node.buildkitRoot)
    expect(
      left.filter((name) => !/\.db$|^containerd-overlayfs$|^net$|^insitu-since$|^insitu-images\.json$/.test(name)),
    ).toEqual([])
    expect(await node.ok('ls', ['/run', '/run/containerd'])).not.toMatch(/insitu|buildkit/)
    expect(await pod.ok('ip', ['-o', 'link'])).not.toContain('buildkit0')
    expect(await pod.ok('iptables', ['-S'])).not.toContain('CNI')
    expect((await pod.ok('iptables', ['-t', 'nat', '-S'])).match(/CNI-\S+/g)).toEqual([published])
    expect((await pod.ok('cat', [forwarding])).trim()).toBe('1')
  })
})
