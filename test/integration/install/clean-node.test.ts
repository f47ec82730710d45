import { existsSync } from 'node:fs'
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { architectures } from '../../../src/agent/binfmt/architectures.ts'
import { patternOf } from '../../../src/agent/binfmt/elf.ts'
import { openKernel } from '../../../src/agent/binfmt/kernel.ts'
import { startAgent, type TestAgent } from '../fixtures/agent.ts'
import { type Inside, startNode, type TestNode } from '../fixtures/containerd.ts'
import { until } from '../fixtures/until.ts'

const program = fileURLToPath(new URL('../../../bin/insitu', import.meta.url))

let node: TestNode
let pod: Inside
let agent: TestAgent
let before: State
beforeAll(async () => {
  node = await startNode()
  pod = await node.pod()
  before = await state()
  agent = startAgent(node, pod)
  await agent.ready()
})
afterAll(async () => {
  await agent?.stop()
  await node?.stop()
})

interface State {
  readonly leases: string[]
  readonly snapshots: string[]
  readonly content: string[]
  readonly namespaces: string[]
}

const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '')

/** What containerd holds. */
async function state(): Promise<State> {
  const [leases, snapshots, content, namespaces] = await Promise.all([
    node.ctr(['leases', 'ls', '-q']),
    node.ctr(['snapshots', '--snapshotter', 'overlayfs', 'ls']),
    node.ctr(['content', 'ls', '-q']),
    node.ctr(['namespaces', 'ls', '-q']),
  ])
  return {
    leases: lines(leases),
    snapshots: lines(snapshots).slice(1),
    content: lines(content),
    namespaces: lines(namespaces).filter((name) => name.includes('history')),
  }
}

const cleanRoot = (root: string, ...args: string[]) => pod.run(program, ['clean-node', '--root', root, ...args])
const clean = (...args: string[]) => cleanRoot(node.buildkitRoot, ...args)

/** Kills a process and waits until it is gone, or a zombie that nobody in the node waits for. */
async function endOf(pid: number): Promise<void> {
  const commandLine = (): Promise<string> => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
  if ((await commandLine()) !== '') process.kill(pid, 'SIGKILL')
  await until('the process to end', async () => (await commandLine()) === '')
}

async function build(name: string): Promise<void> {
  const context = join(node.directory, name)
  await mkdir(context, { recursive: true })
  await copyFile('/bin/busybox', join(context, 'busybox'))
  await writeFile(
    join(context, 'Dockerfile'),
    `FROM scratch AS one\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "touch", "/${name}"]\nFROM scratch\nCOPY --from=one /${name} /\n`,
  )
  const result = await agent.buildctl([
    ...['build', '--frontend', 'dockerfile.v0', '--local', `context=${context}`, '--local', `dockerfile=${context}`],
    ...['--output', `type=image,name=docker.io/test/${name}:v1,unpack=true`],
  ])
  expect(result.code, result.stderr).toBe(0)
}

test('a node is not cleaned while buildkitd runs on it', async () => {
  await build('kept')
  const result = await clean()
  expect(result.code).toBe(1)
  expect(result.stderr).toContain('still uses namespace k8s.io')
  await build('kept-too')
})

test('the cache stays when it is to be kept', async () => {
  expect(await agent.stop()).toBe(0)
  const held = await state()
  expect(held.leases.length).toBeGreaterThan(before.leases.length)
  const result = await clean('--keep-cache')
  expect(result.code, result.stderr).toBe(0)
  expect(await state()).toEqual(held)
})

test('nothing of the cache is left in containerd or on disk, and built images stay whole', async () => {
  const file = join(node.directory, 'result')
  // As an agent that was killed leaves them (the lease any, where containerd drops layers), beside somebody else's pin.
  const [ours, theirs] = ['docker.io/test/kept:v1', 'docker.io/test/kept-too:v1']
  await node.ctr(['images', 'label', ours, 'io.cri-containerd.pinned=pinned', 'insitu.build/pinned=newest'])
  await node.ctr(['images', 'label', theirs, 'io.cri-containerd.pinned=pinned'])
  await node.ctr(['leases', 'create', '--id', 'insitu-images'])
  await node.ctr(['leases', 'create', '--id', 'insitu-disk-0a1b2c3d4e5f'])
  const result = await clean('--result-file', file)
  const withPins = (await node.ctr(['images', 'list'])).split('\n').filter((line) => /pinned/.test(line))
  expect(withPins).toEqual([expect.stringContaining(theirs)])
  expect(result.code, result.stderr).toBe(0)
  expect(JSON.parse(result.stdout)).toMatchObject({ removed: expect.arrayContaining([node.buildkitRoot]) as string[] })
  const after = await state()
  expect(after.leases).toEqual(before.leases)
  expect(after.namespaces).toEqual([])
  // One layer each of the two images; the builds' own snapshots, contexts and stages are collected.
  expect(after.snapshots).toHaveLength(2)
  // The root is a mount of the node's own, as a disk for the cache would be.
  expect((await node.mounts()).filter((mount) => mount.includes(node.buildkitRoot))).toHaveLength(1)
  expect(await node.ok('ls', ['-A', node.buildkitRoot])).toBe('')
  // containerd lists each image under its own name and under those that its CRI plug-in gives it.
  const images = lines(await node.ctr(['images', 'check'])).slice(1)
  expect(images.filter((image) => image.includes('docker.io/test/'))).toHaveLength(2)
  expect(images.filter((image) => !/\bcomplete\b/.test(image))).toEqual([])
  expect(existsSync(file)).toBe(true)
})

test('handlers of emulators that a killed agent left are gone, and only these', async () => {
  const kernel = await openKernel(join(node.directory, 'handlers'))
  const riscv = architectures.find(({ qemu }) => qemu === 'riscv64')!
  const [ours, another] = [`insitu-riscv64@clean-${process.pid}`, `insitu-riscv64@other-${process.pid}`]
  try {
    for (const name of [ours, another]) {
      const interpreter = '/usr/bin/qemu-riscv64-static'
      await kernel.register({ name, interpreter, flags: 'F', pattern: patternOf(riscv) })
    }
    await node.run('tee', [join(node.buildkitRoot, 'insitu-binfmt')], { input: `${ours}\n../status\nlab-node3\n` })
    const result = await clean()
    expect(result.code, result.stderr).toBe(0)
    const left = (await kernel.entries()).map(({ name }) => name)
    expect(left).toContain(another)
    expect(left).not.toContain(ours)
    expect(await kernel.enabled()).toBe(true)
  } finally {
    await kernel.remove(another)
    await kernel.remove(ours)
    await kernel.close()
  }
})

test('a node that is clean can be cleaned again', async () => {
  const result = await clean()
  expect(result.code, result.stderr).toBe(0)
  expect(JSON.parse(result.stdout)).toMatchObject({ unmounted: 0, leases: 0 })
})

test('RUN steps of a daemon that was killed with its agent are ended, whichever way leads to its root', async () => {
  const containers = async (): Promise<string[]> => lines(await node.ctr(['containers', 'ls', '-q']))
  const others = await containers()
  const killed = startAgent(node, pod)
  await killed.ready()
  const context = join(node.directory, 'endless')
  await mkdir(context)
  await copyFile('/bin/busybox', join(context, 'busybox'))
  await writeFile(
    join(context, 'Dockerfile'),
    'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "sleep", "100000"]\n',
  )
  const locals = ['--local', `context=${context}`, '--local', `dockerfile=${context}`]
  const building = killed.buildctl(['build', '--frontend', 'dockerfile.v0', ...locals])
  await until('the step to run', async () => / RUNNING/.test(await node.ctr(['tasks', 'ls'])))
  // Both at once, as when the kubelet kills the agent's container: neither may end the step.
  const daemon = await killed.daemonPid()
  process.kill(daemon, 'SIGSTOP')
  await killed.kill()
  await endOf(daemon)
  expect((await building).code).not.toBe(0)
  expect(await node.ctr(['tasks', 'ls'])).toMatch(/ RUNNING/)

  await node.ok('ln', ['-s', node.buildkitRoot, '/run/alias'])
  const result = await cleanRoot('/run/alias')
  expect(result.code, result.stderr).toBe(0)
  expect(lines(await node.ctr(['tasks', 'ls', '-q']))).toEqual([])
  expect(await containers()).toEqual(others)
  expect(JSON.parse(result.stdout)).toMatchObject({ steps: 1 })
})

test('a directory that is not a buildkitd’s is left alone, with what is mounted below it', async () => {
  await node.ok('mkdir', ['-p', '/run/precious/disk'])
  await node.ok('mount', ['-t', 'tmpfs', 'precious', '/run/precious/disk'])
  const result = await cleanRoot('/run/precious')
  expect(result.code).toBe(1)
  expect(result.stderr).toContain('/run/precious holds nothing of a buildkitd')
  expect((await node.mounts()).some((mount) => mount.includes('/run/precious/disk'))).toBe(true)
})

test('a root behind a symbolic link is unmounted and emptied, however it is written', async () => {
  await node.ok('mkdir', ['-p', '/run/data/bk/local-mnt-src/buildkit-mount1'])
  await node.ok('mount', ['--bind', '/run/precious', '/run/data/bk/local-mnt-src/buildkit-mount1'])
  await node.ok('ln', ['-s', '/run/data', '/run/link'])
  const result = await cleanRoot('/run/link/bk/')
  expect(result.code, result.stderr).toBe(0)
  expect(JSON.parse(result.stdout)).toMatchObject({ unmounted: 1, removed: ['/run/data/bk'] })
  expect(await node.ok('ls', ['/run/data', '/run/precious'])).toContain('disk')
  expect((await node.run('ls', ['/run/data/bk'])).code).not.toBe(0)
})
