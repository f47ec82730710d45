import { copyFile, mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { startAgent, type TestAgent } from '../fixtures/agent.ts'
import { type Inside, startNode, type TestNode } from '../fixtures/containerd.ts'
import { until } from '../fixtures/until.ts'

const flat = 'containerd.io/gc.flat=2026-01-01T00:00:00Z'
/** As BuildKit names a cache record; it was there before our first daemon. */
const somebodys = 'zzzzzzzzzzzzzzzzzzzzzzzz1'
/** Made later, and no database knows it. */
const leaked = 'zzzzzzzzzzzzzzzzzzzzzzzz2'

let node: TestNode
let pod: Inside
let agent: TestAgent

beforeAll(async () => {
  node = await startNode()
  pod = await node.pod()
  await lease(somebodys)
  agent = startAgent(node, pod)
  await agent.ready()
})
afterAll(async () => {
  await agent?.stop()
  await node?.stop()
})

const lease = (id: string): Promise<string> => node.ctr(['leases', 'create', '--expires', '0', '--id', id, flat])
const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '')
const leases = async (): Promise<string[]> => lines(await node.ctr(['leases', 'ls', '-q'])).sort()
const records = async (): Promise<string[]> =>
  (await leases()).filter((id) => /^[0-9a-z]{25}/.test(id) && !id.startsWith('zzz'))
const snapshots = async (): Promise<string[]> =>
  lines(await node.ctr(['snapshots', '--snapshotter', 'overlayfs', 'ls'])).flatMap((line) => line.split(' ')[0] ?? [])

async function buildArguments(step: string, output: readonly string[] = []): Promise<string[]> {
  const context = join(node.directory, `context-${step.length}-${output.length}`)
  await mkdir(context, { recursive: true })
  await copyFile('/bin/busybox', join(context, 'busybox'))
  await writeFile(join(context, 'word'), 'opensesame')
  await writeFile(
    join(context, 'Dockerfile'),
    `FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/sleep\nCOPY busybox /bin/dd\nENV PATH=/bin\nRUN --mount=type=secret,id=word ${step}\n`,
  )
  const local = ['--local', `context=${context}`, '--local', `dockerfile=${context}`]
  const secret = ['--secret', `id=word,src=${context}/word`]
  return ['build', '--progress', 'plain', '--frontend', 'dockerfile.v0', ...local, ...secret, ...output]
}
const build = async (step: string) => agent.buildctl(await buildArguments(step))

/** SIGKILL to the daemon, and waits for the next one. */
async function killDaemon(): Promise<void> {
  const seen = agent.lines().length
  process.kill(await agent.daemonPid(), 'SIGKILL')
  await agent.ready(seen)
}

it('a daemon that is killed in the middle of a RUN step leaves no container, mount, lease or file', async () => {
  expect((await build('echo 1')).code).toBe(0)
  const kept = await records()
  const running = build('sleep 600')
  await until('the step to run', async () => (await node.ctr(['tasks', 'ls'])).includes('RUNNING'))
  await until('its secret to be mounted', async () =>
    (await node.mounts()).some((line) => line.includes('buildkit-secrets')),
  )
  const of = (part: string) => (line: string) => line.startsWith(`${node.buildkitRoot}/${part}`)
  const proxies = (await node.mounts()).filter(of('net/proxy/'))
  await killDaemon()
  expect((await running).code).not.toBe(0)
  expect(lines(await node.ctr(['tasks', 'ls', '-q']))).toEqual([])
  expect(lines(await node.ctr(['containers', 'ls', '-q']))).toEqual([])
  expect(await node.ctr(['leases', 'ls'])).not.toContain('lease.temporary')
  // The next daemon keeps the network namespaces of the last one, with their addresses, and uses them again; those for
  // proxies it has made itself.
  const mounts = (await node.mounts()).filter(of(''))
  expect(mounts.filter((line) => !of('net/cni/')(line) && !of('net/proxy/')(line))).toEqual([])
  expect(mounts.filter((line) => proxies.includes(line))).toEqual([])
  expect(await readdir(join(node.buildkitRoot, 'local-mnt-src'))).toEqual([])
  // What the database knows stays, and the cache still works.
  expect(await records()).toEqual(expect.arrayContaining(kept))
  expect((await build('echo 1')).stderr).toContain('CACHED')
})

it('a blob that was half written when the daemon was killed is gone', async () => {
  const args = await buildArguments('dd if=/dev/urandom of=/data bs=1M count=150', [
    '--output',
    `type=oci,dest=${node.directory}/out.tar,compression=gzip,force-compression=true`,
  ])
  const running = agent.buildctl(args)
  const active = async (): Promise<string[]> => lines(await node.ctr(['content', 'active'])).slice(1)
  await until('a blob to be written', async () => (await active()).length > 0)
  const seen = agent.lines().length
  await killDaemon()
  await running
  const line = agent
    .lines()
    .slice(seen)
    .find(({ msg }) => msg.startsWith('ended what daemons that are gone held'))
  expect(line?.['ingests']).toBeGreaterThan(0)
  expect(await active()).toEqual([])
})

it('the lease of a record that no database knows ends with its daemon; another tool’s and an older one stay', async () => {
  await lease(leaked)
  await lease('backup-of-somebody')
  const kept = await records()
  await killDaemon()
  const left = await leases()
  expect(left).not.toContain(leaked)
  expect(left).toEqual(expect.arrayContaining([somebodys, 'backup-of-somebody']))
  expect(await records()).toEqual(kept)
})

it('when the databases are gone, so is all that the cache and the history held', async () => {
  expect((await records()).length).toBeGreaterThan(0)
  const history = (): Promise<string> => node.ok('ctr', ['-n', 'k8s.io_history', 'leases', 'ls', '-q'])
  expect(lines(await history())).not.toEqual([])
  await agent.stop()
  for (const name of ['containerd-overlayfs/metadata_v2.db', 'history.db', 'cache.db']) {
    await rm(join(node.buildkitRoot, name))
  }
  agent = startAgent(node, pod)
  await agent.ready()
  expect(await leases()).toEqual(['backup-of-somebody', somebodys])
  expect(lines(await history())).toEqual([])
  expect((await snapshots()).filter((key) => /^[0-9a-z]{25}$/.test(key))).toEqual([])
  expect((await build('echo 1')).code).toBe(0)
})
