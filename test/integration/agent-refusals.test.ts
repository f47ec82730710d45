import { existsSync } from 'node:fs'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type AgentOptions, startAgent } from './fixtures/agent.ts'
import { type Inside, startNode, type TestNode } from './fixtures/containerd.ts'
import { until } from './fixtures/until.ts'

let node: TestNode
let pod: Inside
let nothing: { mounts: string[]; files: string[]; run: string }

const look = async () => ({
  mounts: await node.mounts(),
  files: await readdir(node.buildkitRoot),
  run: await node.ok('ls', ['/run', '/run/containerd']),
})

beforeAll(async () => {
  node = await startNode()
  pod = await node.pod()
  nothing = await look()
})

afterAll(() => node?.stop())

/** Starts an agent that must refuse, and checks that it started nothing and left nothing. */
async function refusal(code: string, options: AgentOptions = {}, inside = pod) {
  const agent = startAgent(node, inside, options)
  try {
    const line = await agent.waitFor(`the refusal ${code}`, (l) => l.code === code)
    expect(agent.lines().some((l) => l.daemon === 'buildkitd')).toBe(false)
    expect(line.fix, 'every refusal says what to do').toBeTruthy()
    return line
  } finally {
    expect(await agent.stop()).toBe(0)
    expect(await look()).toEqual(nothing)
    expect(existsSync('/run/buildkit/buildkitd.sock')).toBe(false)
  }
}

const withConfig = async (text: string): Promise<AgentOptions> => {
  const config = join(node.directory, 'buildkitd.toml')
  await writeFile(config, text)
  return { config }
}

describe('an agent that cannot work', () => {
  it('says so when there is no containerd socket', async () => {
    const line = await refusal('CONTAINERD_MISSING', { args: ['--containerd-address', '/run/none/containerd.sock'] })
    expect(line.msg).toContain('/run/none/containerd.sock')
  })

  it('says so when containerd does not answer, and starts as soon as it does', async () => {
    await node.stopContainerd()
    const agent = startAgent(node, pod)
    await agent.waitFor('the refusal', (l) => l.code === 'CONTAINERD_MISSING' || l.code === 'CONTAINERD_SILENT')
    await node.startContainerd()
    await agent.ready()
    expect(await agent.stop()).toBe(0)
    nothing = await look()
  })

  it('refuses another snapshotter than the kubelet’s, from the command line and from the file', async () => {
    const line = await refusal('SNAPSHOTTER_MISMATCH', { args: ['--snapshotter', 'native'] })
    expect(line.msg).toMatch(/native.*overlayfs/)
    const fromFile = await refusal(
      'SNAPSHOTTER_MISMATCH',
      await withConfig('[worker.containerd]\nsnapshotter = "native"\n'),
    )
    expect(fromFile.msg).toContain('line 2')
  })

  it('refuses a root whose mounts do not reach containerd', async () => {
    const line = await refusal('MOUNT_NOT_PROPAGATED', {}, await node.pod([]))
    expect(line.msg).toContain(node.buildkitRoot)
    expect(line.fix).toContain('Bidirectional')
  })

  it('refuses a root that is another directory on the node', async () => {
    const elsewhere = await node.pod([])
    await elsewhere.ok('mount', ['-t', 'tmpfs', 'own', node.buildkitRoot])
    const line = await refusal('PATH_NOT_SHARED', {}, elsewhere)
    expect(line.msg).toContain(node.buildkitRoot)
  })

  it('refuses a root that holds what is not a buildkitd’s', async () => {
    const line = await refusal('ROOT_FOREIGN', { args: ['--root', node.directory] })
    expect(line.msg).toContain(node.directory)
  })

  it('goes on looking when a file system does not let it', async () => {
    const readonly = await node.pod([])
    await readonly.ok('mount', ['-t', 'tmpfs', '-o', 'ro', 'own', node.buildkitRoot])
    const line = await refusal('START_FAILED', {}, readonly)
    expect(line.msg).toContain('read-only file system')
  })

  it('names line and column of broken TOML', async () => {
    const line = await refusal('CONFIG_SYNTAX', await withConfig('root = "/x"\n[worker.containerd\n'))
    expect(line.msg).toContain('line 2')
  })

  it('names the line of an unknown key and the key that was meant', async () => {
    const line = await refusal('CONFIG_UNKNOWN_KEY', await withConfig('[worker.containerd]\nmax-paralelism = 3\n'))
    expect(line.msg).toMatch(/line 2.*max-paralelism.*max-parallelism/)
  })

  it('gives the reason when a value cannot be', async () => {
    const line = await refusal('CONFIG_CONFLICT', await withConfig('[worker.containerd]\nnamespace = "mine"\n'))
    expect(line.msg).toContain('the kubelet only sees k8s.io')
  })

  it('needs its programs', async () => {
    const line = await refusal('BRIDGE_UNAVAILABLE', { env: { PATH: '/usr/bin:/bin' } })
    expect(line.msg).toContain('iptables')
    const daemon = await refusal('PROGRAM_MISSING', { env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } })
    expect(daemon.msg).toContain('buildkitd')
  })

  it('sees a buildkitd that somebody else runs on the same namespace', async () => {
    const config = join(node.directory, 'foreign.toml')
    await writeFile(
      config,
      `root = "${node.directory}/foreign"\n[worker.oci]\nenabled = false\n[worker.containerd]\nnamespace = "k8s.io"\n`,
    )
    await node.ok('mkdir', ['-p', '/run/buildkit'])
    const foreign = node.start('buildkitd', ['--config', config, '--addr', `unix://${node.directory}/foreign.sock`])
    try {
      const agent = startAgent(node, pod)
      const line = await agent.waitFor('the refusal', (l) => l.code === 'NAMESPACE_IN_USE')
      expect(line.msg).toContain('k8s.io')
      expect(await agent.stop()).toBe(0)
    } finally {
      foreign.kill('SIGKILL')
    }
  })

  it('sees a buildkitd that somebody else runs on the same root, and leaves what is mounted there', async () => {
    const config = join(node.directory, 'foreign.toml')
    await writeFile(
      config,
      `root = "${node.buildkitRoot}"\n[worker.oci]\nenabled = false\n[worker.containerd]\nnamespace = "other"\n`,
    )
    const mounted = join(node.buildkitRoot, 'mounted')
    await node.ok('mkdir', ['-p', mounted])
    await node.ok('mount', ['-t', 'tmpfs', 'foreign', mounted])
    const foreign = node.start('buildkitd', ['--config', config, '--addr', `unix://${node.directory}/foreign.sock`])
    try {
      await until('the foreign buildkitd to run', () => existsSync(join(node.buildkitRoot, 'buildkitd.lock')))
      const agent = startAgent(node, pod)
      const line = await agent.waitFor('the refusal', (l) => l.code === 'ROOT_IN_USE')
      expect(line.msg).toContain(node.buildkitRoot)
      expect(await agent.stop()).toBe(0)
      expect((await node.mounts()).some((mount) => mount.includes(mounted))).toBe(true)
    } finally {
      foreign.kill('SIGKILL')
    }
  })
})
