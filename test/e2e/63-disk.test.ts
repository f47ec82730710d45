import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { NodeUsage } from '../../src/api/disk.ts'
import { namespace } from '../../src/api/names.ts'
import { run, type RunResult } from '../../src/kernel/process/run.ts'
import { buildctl, ensureInstalled, type Installed, repository, temporary } from './fixtures/insitu.ts'
import { portForward } from './fixtures/port-forward.ts'

const id = randomBytes(3).toString('hex')
const name = `docker.io/disk${id}/app`
let installed: Installed
let door: Awaited<ReturnType<typeof portForward>>

beforeAll(async () => {
  installed = await ensureInstalled()
  door = await portForward(installed.lab)
})
afterAll(async () => {
  await door?.[Symbol.asyncDispose]()
})

/** The program on an administrator's machine, with the administrator's kubeconfig. */
const insitu = (args: readonly string[], allow: readonly number[] = []): Promise<RunResult> =>
  run(join(repository, 'bin/insitu'), args, { env: { KUBECONFIG: installed.lab.kubeconfig }, allow, timeout: 120_000 })

const usage = async (...args: string[]): Promise<NodeUsage[]> =>
  (JSON.parse((await insitu(['du', '-o', 'json', ...args])).stdout) as { nodes: NodeUsage[] }).nodes

interface Pruned {
  readonly dryRun: boolean
  readonly nodes: readonly {
    readonly node: string
    readonly freed: { readonly bytes: number }
    readonly removed: readonly { readonly kind: string; readonly id: string }[]
  }[]
}
const prune = async (...args: string[]): Promise<Pruned> =>
  JSON.parse((await insitu(['prune', '-o', 'json', ...args])).stdout) as Pruned

async function build(tag: string, step: string): Promise<void> {
  await using context = await temporary()
  await writeFile(join(context.path, 'Dockerfile'), `FROM busybox\nRUN ${step}\n`)
  await buildctl({ addr: door.addr, context: context.path, name: `${name}:${tag}`, opt: { 'insitu.node': 'node1' } })
}

describe('the disks of a cluster', () => {
  it('are shown from outside: every node, its budget, and the repository that was just built', async () => {
    await build('v1', 'dd if=/dev/urandom of=/data bs=1M count=10')
    const nodes = await usage()
    expect(nodes.map(({ node }) => node)).toEqual([...installed.lab.nodes].sort())
    for (const { fileSystems } of nodes) {
      expect(fileSystems.flatMap(({ holds }) => holds).sort()).toEqual(['buildkit', 'containerd', 'temporary'])
      // The lab's kubelets never delete images: their threshold is the whole disk.
      for (const { bytes, limits } of fileSystems) expect(limits.bytes.limit).toBe(bytes.total)
    }
    const [first, second] = nodes.map(({ images }) => images.find(({ repository }) => repository === name))
    expect(first?.bytes).toBeGreaterThan(10e6)
    expect(second?.bytes ?? 0).toBe(0)
    expect((await usage('--node', 'node2')).map(({ node }) => node)).toEqual(['node2'])
    expect((await insitu(['du'])).stdout).toMatch(/^NODE[^]*\nnode1 [^]*\nnode2 /)
    expect((await insitu(['du', '--by', 'repository'])).stdout).toContain(name)
    expect((await insitu(['du', '--by', 'kind'])).stdout).toMatch(/^KIND[^]*\nregular /)
  })

  it('are pruned from outside: the dry run names what goes, the image stays', async () => {
    const dry = await prune('--node', 'node1', '--all', '--dry-run')
    expect(dry.dryRun).toBe(true)
    const wanted = dry.nodes.flatMap(({ removed }) => removed.map((one) => one.id)).sort()
    expect(wanted.length).toBeGreaterThan(0)
    const before = await usage('--node', 'node1')
    const done = await prune('--node', 'node1', '--all')
    expect(done.nodes.map(({ node }) => node)).toEqual(['node1'])
    expect(done.nodes.flatMap(({ removed }) => removed.map((one) => one.id))).toEqual(expect.arrayContaining(wanted))
    expect((await prune('--node', 'node1', '--all')).nodes[0]?.removed).toEqual([])
    const after = await usage('--node', 'node1')
    const cache = (list: readonly NodeUsage[]): number =>
      list.flatMap((one) => one.cache).reduce((sum, kind) => sum + kind.bytes, 0)
    expect(cache(before)).toBeGreaterThan(10e6)
    expect(cache(after)).toBe(0)
    expect(after[0]?.images.map(({ repository }) => repository)).toContain(name)
    const text = (await insitu(['prune', '--dry-run'])).stdout
    expect(text).toMatch(/^NODE +WOULD REMOVE +WOULD FREE[^]*would free .* in all/)
  })

  it('are not touched by a wrong command line, and by nobody without the right to exec in the agents’ pods', async () => {
    expect((await insitu(['du', '--node', 'node9'], [2])).exitCode).toBe(2)
    expect((await insitu(['prune', '--filter', 'colour=red'], [2])).exitCode).toBe(2)
    expect((await insitu(['du', '--namespace', 'default'], [1])).stderr).toContain('there are no agents')
    const can = async (...as: string[]): Promise<string> => {
      const args = ['--kubeconfig', installed.lab.kubeconfig, '-n', namespace, 'auth', 'can-i', 'create', 'pods/exec']
      return (await run('kubectl', [...args, ...as], { allow: [1] })).stdout.trim()
    }
    expect(await can()).toBe('yes')
    for (const account of ['insitu-gateway', 'insitu-agent']) {
      expect(await can(`--as=system:serviceaccount:${namespace}:${account}`)).toBe('no')
    }
  })
})

describe('an agent’s metrics', () => {
  it('show its disk and its marks', async () => {
    const pod = (await installed.agents()).get('node1')?.name ?? ''
    const path = `/api/v1/namespaces/${namespace}/pods/${pod}:9375/proxy/metrics`
    const text = await installed.kubectl(['get', '--raw', path])
    const value = (metric: string): number =>
      Number(new RegExp(`^insitu_disk_${metric}\\{[^}]*\\} (\\d+)$`, 'm').exec(text)?.[1])
    expect(value('used_bytes')).toBeGreaterThan(0)
    expect(value('used_bytes')).toBeLessThan(value('bytes'))
    expect(value('high_bytes')).toBeLessThan(value('limit_bytes'))
    expect(value('used_inodes')).toBeLessThan(value('inodes'))
  })
})
