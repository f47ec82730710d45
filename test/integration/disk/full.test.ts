import { copyFile, mkdir, statfs, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { startAgent, type TestAgent } from '../fixtures/agent.ts'
import { type Inside, startNode, type TestNode } from '../fixtures/containerd.ts'
import { until } from '../fixtures/until.ts'

// A disk that a build has filled to the last megabyte, and whose daemon is gone: nobody is left who would end the build.

const probes = '19375'
let node: TestNode
let pod: Inside
let agent: TestAgent

beforeAll(async () => {
  node = await startNode({ disk: { megabytes: 800, inodes: 20_000 } })
  pod = await node.pod()
  // What is looked at is the room that is left, not a kubelet's threshold.
  await writeFile(join(node.directory, 'insitu.toml'), '[agent.disk]\nfollowKubelet = false\n')
  // As long as there is room for it.
  await node.ok('mkdir', [blocks()])
  agent = start()
  await agent.ready()
  await build('echo before')
})
afterAll(async () => {
  await agent?.stop()
  await node?.stop()
})

const start = (): TestAgent =>
  startAgent(node, pod, { args: ['--probes', probes, '--insitu-config', join(node.directory, 'insitu.toml')] })

/** Megabytes that are left on the node's disk. */
async function left(): Promise<number> {
  const { bavail, bsize } = await statfs(`/proc/${node.pid}/root${node.buildkitRoot}`)
  return (bavail * bsize) / 2 ** 20
}
/** What keeps builds away from the node; empty: nothing does. */
const notReady = async (): Promise<string> => {
  const { stdout } = await pod.run('curl', ['-s', `http://127.0.0.1:${probes}/readyz`])
  return stdout === 'ok\n' ? '' : stdout
}
/** The inode of the daemon's configuration. */
const configuration = (): Promise<string> => pod.ok('stat', ['-c', '%i', '/run/buildkit/buildkitd.toml'])
const steps = async (): Promise<string> => node.ctr(['tasks', 'ls', '-q'])

async function build(step: string): Promise<Awaited<ReturnType<TestAgent['buildctl']>>> {
  const context = join(node.directory, 'context')
  await mkdir(context, { recursive: true })
  await copyFile('/bin/busybox', join(context, 'busybox'))
  await writeFile(
    join(context, 'Dockerfile'),
    `FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/sleep\nCOPY busybox /bin/dd\nENV PATH=/bin\nRUN ${step}\n`,
  )
  const local = ['--local', `context=${context}`, '--local', `dockerfile=${context}`]
  return agent.buildctl(['build', '--progress', 'plain', '--frontend', 'dockerfile.v0', ...local])
}

/** A step that takes every block there is, and goes on. */
async function fill(): Promise<{ readonly running: Promise<unknown> }> {
  const running = build('dd if=/dev/zero of=/data bs=1M; sleep 600')
  await until('the disk to be full', async () => (await left()) < 1)
  return { running }
}

const blocks = (): string => `${node.buildkitRoot}/../blocks`
/** Takes what is left on a full disk: not even a directory can be made then. */
async function takeLastBlocks(): Promise<void> {
  let taken = 0
  // containerd may give back a block meanwhile.
  await until('nothing to be left', async () => {
    const { code } = await node.run('mkdir', [`${blocks()}/${taken++}`])
    return code !== 0
  })
}
const giveBlocksBack = (): Promise<string> => node.ok('sh', ['-c', 'rm -rf "$0"/*', blocks()])

it('when the daemon dies on a full disk, its step ends, the next one starts, and the node takes builds again', async () => {
  const { running } = await fill()
  const seen = agent.lines().length
  const written = await configuration()
  process.kill(await agent.daemonPid(), 'SIGKILL')
  await agent.waitFor('the step to be ended', (line) => line.msg.startsWith('ended a build step'), seen)
  await agent.ready(seen)
  await running
  // The next daemon has nothing else to be told, and nothing is written for it.
  expect(await configuration()).toBe(written)
  expect(await steps()).toBe('')
  await until('its data to be gone', async () => (await left()) > 300)
  await until('the node to take builds', async () => (await notReady()) === '', 30_000)
  expect((await build('echo after')).code).toBe(0)
})

it('the same when the agent dies with it: the next agent says that the disk is full, and makes room first', async () => {
  const { running } = await fill()
  const daemon = await agent.daemonPid()
  process.kill(daemon, 'SIGSTOP')
  await agent.kill()
  process.kill(daemon, 'SIGKILL')
  await running
  expect(await steps()).not.toBe('')
  expect(await left()).toBeLessThan(1)
  await takeLastBlocks()
  agent = start()
  await agent.waitFor('the finding', (line) => line.code === 'DISK_FULL')
  await agent.ready()
  await giveBlocksBack()
  expect(await steps()).toBe('')
  await until('its data to be gone', async () => (await left()) > 300)
  await until('the node to take builds', async () => (await notReady()) === '', 30_000)
  expect((await build('echo after')).code).toBe(0)
})

it('on a disk that others have filled a daemon runs and its node takes no builds, until there is room', async () => {
  await agent.stop()
  const ballast = `${node.buildkitRoot}/../ballast`
  await node.ok('fallocate', ['-l', `${Math.floor((await left()) - 100)}M`, ballast])
  agent = start()
  await agent.ready()
  expect(await notReady()).toContain('DISK_FULL')
  await node.ok('rm', [ballast])
  await until('the node to take builds', async () => (await notReady()) === '', 30_000)
})

it('a disk without any room keeps an agent from starting only as long as it is so', async () => {
  await agent.stop()
  const ballast = `${node.buildkitRoot}/../ballast`
  await node.run('sh', ['-c', `cat /dev/zero > ${ballast}`])
  await takeLastBlocks()
  agent = start()
  await agent.waitFor('the finding', (line) => line.code === 'DISK_FULL')
  await node.ok('rm', [ballast])
  await giveBlocksBack()
  await agent.ready()
  await until('the node to take builds', async () => (await notReady()) === '', 30_000)
  expect((await build('echo after')).code).toBe(0)
})
