import { copyFile, mkdir, statfs, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { setInterval as every } from 'node:timers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { NodeUsage } from '../../../src/api/disk.ts'
import { startAgent, type TestAgent } from '../fixtures/agent.ts'
import { type Inside, startNode, type TestNode } from '../fixtures/containerd.ts'
import { until } from '../fixtures/until.ts'

const program = fileURLToPath(new URL('../../../bin/insitu', import.meta.url))
const socket = '/run/buildkit/insitu.sock'
const [inodesHigh, inodesLimit] = [0.5, 0.95]
const [bytesHigh, bytesLimit] = [0.6, 0.85]

let node: TestNode
let pod: Inside
let agent: TestAgent

beforeAll(async () => {
  node = await startNode({ disk: { megabytes: 1200, inodes: 24_000 } })
  pod = await node.pod()
  await writeFile(
    join(node.directory, 'insitu.toml'),
    `[agent.disk]\nhighPercent = ${bytesHigh * 100}\nlowPercent = 45\ninodesHighPercent = ${inodesHigh * 100}\ninodesLowPercent = 35\n`,
  )
  // The agent is to do it alone.
  await writeFile(join(node.directory, 'buildkitd.toml'), '[worker.containerd]\ngc = false\n')
  agent = start()
  await agent.ready()
})

afterAll(async () => {
  await agent?.stop()
  await node?.stop()
})

const start = (): TestAgent =>
  startAgent(node, pod, {
    config: join(node.directory, 'buildkitd.toml'),
    args: ['--insitu-config', join(node.directory, 'insitu.toml')],
  })

/** Used shares of the node's disk. */
async function used(): Promise<{ bytes: number; inodes: number; usedBytes: number }> {
  const { blocks, bavail, bsize, files, ffree } = await statfs(`/proc/${node.pid}/root${node.buildkitRoot}`)
  return { bytes: 1 - bavail / blocks, inodes: 1 - ffree / files, usedBytes: (blocks - bavail) * bsize }
}

let builds = 0
/** Builds from a Dockerfile on top of busybox, each time something new; without a name it stays in the cache. */
async function build(name: string | undefined, steps: string): Promise<void> {
  const context = join(node.directory, `context${builds++}`)
  await mkdir(context)
  await copyFile('/bin/busybox', join(context, 'busybox'))
  await writeFile(
    join(context, 'Dockerfile'),
    `FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/dd\nCOPY busybox /bin/sleep\nENV PATH=/bin\n# ${builds}\nRUN : ${builds}; ${steps}\n`,
  )
  const result = await agent.buildctl([
    ...['build', '--progress', 'plain', '--frontend', 'dockerfile.v0', '--local', `context=${context}`],
    ...['--local', `dockerfile=${context}`],
    ...(name === undefined
      ? []
      : ['--output', `type=image,name=docker.io/test/${name},unpack=true,compression=uncompressed`]),
  ])
  expect(result.code, result.stderr).toBe(0)
}

const megabytes = (count: number): string => `dd if=/dev/urandom of=/data bs=1M count=${count} 2>/dev/null`
const files = (count: number): string => `i=0; while [ $i -lt ${count} ]; do i=$((i + 1)); : > /f$i; done`

const insitu = async (...args: string[]): Promise<string> => pod.ok(program, [...args, '--socket', socket])
const usage = async (): Promise<NodeUsage> =>
  (JSON.parse(await insitu('du', '-o', 'json')) as { nodes: NodeUsage[] }).nodes[0] as NodeUsage

interface Pruned {
  readonly nodes: readonly {
    freed: { bytes: number; inodes: number }
    removed: readonly { kind: string; id: string }[]
  }[]
}
const prune = async (...args: string[]) =>
  (JSON.parse(await insitu('prune', '-o', 'json', ...args)) as Pruned).nodes[0] as Pruned['nodes'][number]

/** Runs builds one after the other and tells the largest share that was ever used meanwhile. */
async function peak(of: 'bytes' | 'inodes', work: () => Promise<void>): Promise<number> {
  let most = 0
  const timer = every(() => void used().then((now) => (most = Math.max(most, now[of]))), 100)
  try {
    await work()
  } finally {
    clearInterval(timer)
  }
  return most
}

describe('a node whose disk is small', () => {
  it('builds more than fits, and never passes its budget; what runs stays', async () => {
    await build('kept:1', `${megabytes(20)}; : > /here`)
    const running = node.start('ctr', [
      ...[
        '-n',
        'k8s.io',
        'run',
        '--rm',
        '--snapshotter',
        'overlayfs',
        'docker.io/test/kept:1',
        'kept',
        '/bin/sleep',
        '600',
      ],
    ])
    await until('the container to run', async () => (await node.ctr(['tasks', 'ls'])).includes('RUNNING'))
    const most = await peak('bytes', async () => {
      // Cache, blob and unpacked: 120 MB each, 1,800 MB on a disk of 1,200.
      for (let i = 0; i < 15; i++) await build('app:latest', megabytes(40))
    })
    expect(most).toBeGreaterThan(bytesHigh)
    expect(most).toBeLessThan(bytesLimit)
    await until('the disk to be below its high mark', async () => (await used()).bytes < bytesHigh)
    expect(
      await node.ctr(['tasks', 'exec', '--exec-id', 'look', 'kept', '/bin/sh', '-c', 'cat </here && echo fine']),
    ).toContain('fine')
    expect(await node.ctr(['images', 'ls', '-q'])).toContain('docker.io/test/kept:1')
    await node.ctr(['tasks', 'kill', '-s', 'SIGKILL', 'kept'])
    await until('the container to end', () => running.exitCode !== null)
  })

  it('keeps its budget of inodes too', async () => {
    const most = await peak('inodes', async () => {
      // Twice 1,500 each, 24,000 files on a disk of 24,000.
      for (let i = 0; i < 8; i++) await build('files:latest', files(1500))
    })
    expect(most).toBeGreaterThan(inodesHigh)
    expect(most).toBeLessThan(inodesLimit)
    await until('the inodes to be below their high mark', async () => (await used()).inodes < inodesHigh)
  })

  it('says who holds what: the parts are what the file system says', async () => {
    await build('app:latest', megabytes(40))
    const now = await usage()
    const [fs] = now.fileSystems
    expect(fs?.holds).toEqual(['containerd', 'buildkit', 'temporary'])
    expect(Math.abs((fs?.bytes.used ?? 0) - (await used()).usedBytes)).toBeLessThan(4 << 20)
    expect(now.cache.map(({ kind }) => kind)).toEqual(expect.arrayContaining(['regular', 'source.local']))
    const names = now.images.map(({ repository }) => repository)
    expect(names).toEqual(expect.arrayContaining(['docker.io/test/app', 'docker.io/test/kept']))
    // Blob and snapshot of the image that was built last.
    expect(now.images.find(({ repository }) => repository === 'docker.io/test/app')?.bytes).toBeGreaterThan(80e6)
    expect(now.leaked).toEqual({ leases: 0, bytes: 0 })
    expect(await insitu('du')).toMatch(/NODE +USED[^]*test/)
    expect(await insitu('du', '--by', 'repository')).toContain('docker.io/test/app')
    expect(await insitu('du', '--by', 'kind')).toContain('source.local')
  })

  it('prunes what it said it would, and frees what it said it would free', async () => {
    await build(undefined, `${megabytes(40)}; ${files(1000)}`)
    const before = await used()
    const dry = await prune('--all', '--dry-run')
    expect((await used()).usedBytes).toBeGreaterThanOrEqual(before.usedBytes - (4 << 20))
    const done = await prune('--all')
    const after = await used()
    const freed = before.usedBytes - after.usedBytes
    expect(freed).toBeGreaterThan(40e6)
    expect(Math.abs(done.freed.bytes - freed)).toBeLessThan(4 << 20)
    // Directories, and the daemon's databases, are in no account.
    expect(Math.abs(dry.freed.bytes - freed) / freed).toBeLessThan(0.1)
    expect(Math.abs(dry.freed.inodes - done.freed.inodes) / done.freed.inodes).toBeLessThan(0.15)
    const ids = (list: typeof done): string[] => list.removed.map(({ id }) => id).sort()
    expect(ids(dry)).toEqual(ids(done))
    expect(await prune('--all')).toMatchObject({ removed: [] })
    // Images stay unless they are named.
    expect(await node.ctr(['images', 'ls', '-q'])).toContain('docker.io/test/app:latest')
  })

  it('prunes by kind and age, and keeps as much as it is told to', async () => {
    for (let i = 0; i < 4; i++) await build(undefined, megabytes(20))
    expect((await prune('--filter', 'until=1h')).removed).toEqual([])
    const local = await prune('--filter', 'kind=source.local')
    expect(new Set(local.removed.map(({ kind }) => kind))).toEqual(new Set(['source.local']))
    await prune('--keep-storage', '50MB')
    const left = (await usage()).cache.reduce((sum, { bytes }) => sum + bytes, 0)
    expect(left).toBeGreaterThan(20e6)
    expect(left).toBeLessThan(50e6)
  })

  it.each([
    [['prune', '--filter', 'size=4'], 2],
    [['prune', '--filter', 'kind=all'], 2],
    [['du', '--by', 'colour'], 2],
  ])('%j ends with %d', async (args, code) => {
    expect((await pod.run(program, [...args, '--socket', socket])).code).toBe(code)
  })

  it('lets nobody but root ask', async () => {
    expect(await pod.ok('stat', ['-c', '%a %U', socket])).toBe('600 root\n')
    const other = await pod.run(program, ['du', '--socket', '/run/nobody.sock'])
    expect(other.code).toBe(1)
    expect(other.stderr).toContain('no agent listens on /run/nobody.sock')
  })

  it('takes no build when others fill the disk up to the kubelet’s threshold, and takes builds again after that', async () => {
    const ballast = `${node.buildkitRoot}/../ballast`
    const seen = agent.lines().length
    const { bytes } = await used()
    await node.ok('fallocate', ['-l', `${Math.ceil((bytesLimit + 0.03 - bytes) * 1200)}M`, ballast])
    const said = await agent.waitFor('the node to refuse builds', (line) => line.code === 'DISK_LIMIT', seen)
    expect(said.fix).toContain('insitu du')
    await node.ok('rm', [ballast])
    await agent.waitFor('the node to take builds', (line) => line.msg.includes('below its high mark again'), seen)
  })

  it('frees what a build let go of soon after it found nothing to free', async () => {
    const ballast = `${node.buildkitRoot}/../ballast`
    await prune('--all')
    const { bytes } = await used()
    const seen = agent.lines().length
    await node.ok('fallocate', ['-l', `${Math.ceil((bytesHigh + 0.05 - bytes) * 1200)}M`, ballast])
    const running = build(undefined, `${megabytes(40)}; sleep 3`)
    await agent.waitFor('a try that frees too little', (line) => line.enough === false, seen)
    await running
    const cache = async () => (await usage()).cache.filter(({ kind }) => kind === 'regular')
    await until('the cache of the build to be gone', async () => (await cache()).length === 0, 15_000)
    await node.ok('rm', [ballast])
  })

  it('goes on where it was when agent or containerd are restarted while it prunes', async () => {
    for (let i = 0; i < 4; i++) await build(`again:${i}`, megabytes(15))
    const pruning = pod.run(program, ['prune', '--all', '--socket', socket])
    await node.stopContainerd()
    await node.startContainerd()
    await pruning
    const second = pod.run(program, ['prune', '--all', '--socket', socket])
    await agent.kill()
    expect((await second).code).not.toBe(2)
    agent = start()
    await agent.ready()
    await build('after:1', megabytes(5))
    await prune('--all')
    const now = await usage()
    expect(now.leaked.leases).toBe(0)
    expect(now.cache.filter(({ kind }) => kind === 'regular')).toEqual([])
    expect((await used()).bytes).toBeLessThan(bytesHigh)
  })
})
