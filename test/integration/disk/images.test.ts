import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { PruneProgress } from '../../../src/api/disk.ts'
import { startKeeper } from '../../../src/agent/disk/keeper.ts'
import { kubeletDefaults } from '../../../src/agent/disk/limits.ts'
import { type NodeDisk, nodeDisk } from '../../../src/agent/disk/node.ts'
import { prune } from '../../../src/agent/disk/prune.ts'
import { createLogger } from '../../../src/kernel/log.ts'
import { startAgent, type TestAgent } from '../fixtures/agent.ts'
import { type Inside, startNode, type TestNode } from '../fixtures/containerd.ts'
import { until } from '../fixtures/until.ts'

const name = (tag: string): string => `docker.io/test/app:${tag}`
const tags = ['old', 'pinned', 'running', 'foreign', 'new']

let node: TestNode
let pod: Inside
let agent: TestAgent
let disk: NodeDisk

beforeAll(async () => {
  node = await startNode({ disk: { megabytes: 900, inodes: 20_000 } })
  pod = await node.pod()
  agent = startAgent(node, pod)
  await agent.ready()
  for (const tag of tags) await build(tag)
  await node.ctr(['images', 'label', name('pinned'), 'io.cri-containerd.pinned=pinned'])
  // Its control group has its name, on the whole machine.
  const sleep = ['run', '--detach', '--snapshotter', 'overlayfs', name('running'), 'kept-image', '/bin/sleep', '600']
  await node.ctr(sleep)
  // The kubelet's runtime names what it pulls, as after a delivery, by its digest too.
  await node.ctr(['images', 'tag', name('old'), `docker.io/test/app@${await digestOf(name('old'))}`])
  // Somebody gave the same image another name: the data stays, the name goes.
  await node.ctr(['images', 'tag', name('new'), 'docker.io/other/app:1'])
  const on = (inside: Inside, path: string): string => `/proc/${inside.pid}/root${path}`
  disk = nodeDisk({
    place: {
      ...{ node: 'test', address: on(node, node.address), namespace: 'k8s.io', snapshotter: 'overlayfs' },
      containerdRoot: on(node, join(node.buildkitRoot, '../containerd')),
      root: on(node, node.buildkitRoot),
      tmpdir: on(node, join(node.buildkitRoot, 'local-mnt-src')),
      socket: on(pod, '/run/buildkit/buildkitd.sock'),
    },
    // Everything is too much.
    config: { highPercent: 2, lowPercent: 1 },
    kubelet: kubeletDefaults,
    built: () => new Set(tags.filter((tag) => tag !== 'foreign').map(name)),
  })
})
afterAll(async () => {
  await agent?.stop()
  await node?.stop()
})

async function build(tag: string): Promise<void> {
  const context = join(node.directory, tag)
  await mkdir(context)
  await copyFile('/bin/busybox', join(context, 'busybox'))
  await writeFile(
    join(context, 'Dockerfile'),
    `FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/sleep\nCOPY busybox /bin/dd\nENV PATH=/bin\nRUN : ${tag}; dd if=/dev/urandom of=/data bs=1M count=20\n`,
  )
  const local = ['--local', `context=${context}`, '--local', `dockerfile=${context}`]
  const output = ['--output', `type=image,name=${name(tag)},unpack=true,compression=uncompressed`]
  const { code, stderr } = await agent.buildctl(['build', '--frontend', 'dockerfile.v0', ...local, ...output])
  expect(code, stderr).toBe(0)
}

const digestOf = async (image: string): Promise<string> =>
  /sha256:[0-9a-f]{64}/.exec(await node.ctr(['images', 'ls', `name==${image}`]))?.[0] ?? ''

const names = async (): Promise<string[]> =>
  (await node.ctr(['images', 'ls', '-q']))
    .split('\n')
    .filter((line) => line.startsWith('docker.io/'))
    .sort()

it('images of a repository go when they are asked for: those that insitu built and nothing needs', async () => {
  await disk.cache.prune({ all: true })
  const done: PruneProgress[] = []
  await prune(disk, { repositories: ['docker.io/test/app'], dryRun: true }, (line) => done.push(line))
  expect(done.map((line) => ('removed' in line && 'id' in line ? line.id : 'end'))).toEqual([
    name('old'),
    name('new'),
    'end',
  ])
  // `old` alone holds a snapshot and a blob of 20 MiB each.
  expect(done.at(-1)).toMatchObject({ done: true, dryRun: true })
  const freed = (done.at(-1) as Extract<PruneProgress, { done: true }>).freed.bytes
  expect(freed).toBeGreaterThan(40e6)
  expect(freed).toBeLessThan(44e6)
  expect(await names()).toContain(name('old'))
})

it('under pressure they go too; what is pinned, runs, or is somebody else’s stays', async () => {
  const keeper = startKeeper({
    disk,
    log: createLogger({ level: 'silent' }),
    interval: 200,
    onFindings: () => undefined,
  })
  try {
    const left = ['docker.io/other/app:1', name('foreign'), name('pinned'), name('running')].sort()
    await until('the images to go', async () => (await names()).length <= left.length)
    await until('a second try', () => keeper.reclaimed().some(({ step, bytes }) => step === 'images' && bytes > 40e6))
    expect(await names()).toEqual(left)
    expect(
      await node.ctr(['tasks', 'exec', '--exec-id', 'look', 'kept-image', '/bin/sh', '-c', 'echo fine']),
    ).toContain('fine')
  } finally {
    await keeper.stop()
  }
})
