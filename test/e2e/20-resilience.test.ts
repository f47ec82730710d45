import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { namespace } from '../../src/api/names.ts'
import { waitFor } from '../lab/wait.ts'
import { startBuild } from './fixtures/background.ts'
import { buildctl, ensureInstalled, type Installed, ready, temporary } from './fixtures/insitu.ts'
import { portForward } from './fixtures/port-forward.ts'

const id = randomBytes(3).toString('hex')
let insitu: Installed
let door: Awaited<ReturnType<typeof portForward>>

beforeAll(async () => {
  insitu = await ensureInstalled()
  door = await portForward(insitu.lab)
})
afterAll(async () => {
  await door?.[Symbol.asyncDispose]()
})

/** A Dockerfile whose RUN step takes `seconds`, and whose shell (which waits in a loop) can be told by its marker. */
const slow = (marker: string, seconds: number): string =>
  `FROM busybox\nRUN echo ${marker}; for i in $(seq ${seconds}); do sleep 1; done\n`

const processes = async (node: string): Promise<string[]> =>
  (await insitu.lab.exec(node, ['ps', '-ww', '-eo', 'pid,args'])).stdout.split('\n')
/** Leases BuildKit holds while it works. Cache records keep theirs, and those of resolved images expire by themselves. */
const leases = async (node: string): Promise<number> =>
  (await insitu.lab.exec(node, ['ctr', '-n', 'k8s.io', 'leases', 'ls'])).stdout
    .split('\n')
    .filter((line) => line.includes('buildkit/lease.temporary') && !line.includes('containerd.io/gc.expire')).length
const mounts = async (node: string): Promise<string[]> =>
  (await insitu.lab.exec(node, ['cat', '/proc/1/mountinfo'])).stdout
    .split('\n')
    .map((l) => l.split(' ')[4] ?? '')
    .sort()

describe('when something dies', () => {
  it('buildkitd in the middle of a build: the client is told within 2 s, and the next build works', async () => {
    await using context = await temporary()
    await writeFile(join(context.path, 'Dockerfile'), slow(`killed-${id}`, 3000))
    const name = `example.test/${id}/killed:v1`
    const build = startBuild({ addr: door.addr, context: context.path, name, opt: { 'insitu.node': 'node1' } })
    const pid = await waitFor(
      'the step to run',
      async () => {
        const list = await processes('node1')
        if (!list.some((p) => p.includes(`killed-${id}`))) return undefined
        return /^\s*(\d+)\s/.exec(list.find((p) => /^\s*\d+ \S*buildkitd /.test(p)) ?? '')?.[1]
      },
      { timeout: 60_000 },
    )
    await insitu.lab.exec('node1', ['kill', '-KILL', pid])
    const killed = Date.now()
    const end = await build.ended
    expect(Date.now() - killed).toBeLessThan(2000)
    expect(end.code).not.toBe(0)
    expect(end.output).toMatch(/node1/)
    expect(end.output).toContain('buildkitd was killed by SIGKILL')

    await writeFile(join(context.path, 'Dockerfile'), 'FROM busybox\nRUN echo again\n')
    await waitFor(
      'a build after the restart',
      async () => {
        const again = await buildctl({
          addr: door.addr,
          context: context.path,
          name,
          opt: { 'insitu.node': 'node1' },
          allow: [1],
        })
        return again.exitCode === 0 ? true : undefined
      },
      { timeout: 60_000 },
    )
    // The step's container did not outlive its build.
    await waitFor(
      'the orphaned step to be gone',
      async () => !(await processes('node1')).some((p) => p.includes(`killed-${id}`)) || undefined,
      {
        timeout: 60_000,
      },
    )
  })

  it('the client in the middle of a build: nothing of it stays on the node', async () => {
    await ready(insitu)
    const before = { leases: await leases('node2'), mounts: await mounts('node2') }
    await using context = await temporary()
    await writeFile(join(context.path, 'Dockerfile'), slow(`left-${id}`, 3000))
    const build = startBuild({
      addr: door.addr,
      context: context.path,
      name: `example.test/${id}/left:v1`,
      opt: { 'insitu.node': 'node2' },
    })
    await waitFor(
      'the step to run',
      async () => (await processes('node2')).some((p) => p.includes(`left-${id}`)) || undefined,
      {
        timeout: 60_000,
      },
    )
    build.kill('SIGKILL')
    await build.ended
    await waitFor(
      'the step, its mounts and leases to be gone',
      async () => {
        if ((await processes('node2')).some((p) => p.includes(`left-${id}`))) throw new Error('the step still runs')
        const now = { leases: await leases('node2'), mounts: await mounts('node2') }
        const extra = now.mounts.filter((m) => !before.mounts.includes(m))
        if (extra.length > 0) throw new Error(`mounts: ${extra.join(' ')}`)
        if (now.leases > before.leases) throw new Error(`${now.leases} leases, ${before.leases} before`)
        return true
      },
      { timeout: 60_000 },
    )
  })

  it('one gateway: builds through the other go on', async () => {
    const pods = (
      await insitu.kubectl([
        '-n',
        namespace,
        'get',
        'pods',
        '-l',
        'insitu.build/role=gateway',
        '-o',
        'jsonpath={.items[*].metadata.name}',
      ])
    ).split(' ')
    expect(pods).toHaveLength(2)
    const [first = '', second = ''] = pods
    await using other = await portForward(insitu.lab, `pod/${second}`)
    await using context = await temporary()
    await writeFile(join(context.path, 'Dockerfile'), slow(`survives-${id}`, 12))
    const build = startBuild({
      addr: other.addr,
      context: context.path,
      name: `example.test/${id}/survives:v1`,
      opt: { 'insitu.node': 'node1' },
    })
    await waitFor(
      'the step to run',
      async () => (await processes('node1')).some((p) => p.includes(`survives-${id}`)) || undefined,
      {
        timeout: 60_000,
      },
    )
    await insitu.kubectl(['-n', namespace, 'delete', 'pod', first, '--wait=false'])
    const end = await build.ended
    expect(end.output).toContain('exporting to image')
    expect(end.code).toBe(0)
    await insitu.kubectl(['-n', namespace, 'rollout', 'status', 'deployment/insitu-gateway', '--timeout=120s'])
  })
})
