import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { namespace } from '../../src/api/names.ts'
import { run } from '../../src/kernel/process/run.ts'
import { toolsBin } from '../lab/lab.ts'
import { waitFor } from '../lab/wait.ts'
import { buildctl, ensureInstalled, type Installed, ready, repository, temporary } from './fixtures/insitu.ts'
import { portForward } from './fixtures/port-forward.ts'

// One kernel under all nodes of the lab: every agent has handlers of its own there.
const emulated = ['linux/arm/v7', 'linux/riscv64', 'linux/ppc64le', 'linux/s390x', 'linux/mips64le', 'linux/loong64']
const native = ['linux/amd64', 'linux/386']
let insitu: Installed
let door: Awaited<ReturnType<typeof portForward>>

beforeAll(async () => {
  insitu = await ensureInstalled()
  door = await portForward(insitu.lab)
})
afterAll(async () => {
  await door?.[Symbol.asyncDispose]()
})

const handlers = async (node: string): Promise<string[]> =>
  (await insitu.lab.exec('node2', ['ls', '/proc/sys/fs/binfmt_misc'])).stdout
    .split('\n')
    .filter((name) => name.endsWith(`@${node}`))

it('insitu nodes and buildx inspect show what is native and what is emulated, as soon as the agents are ready', async () => {
  const env = { KUBECONFIG: insitu.lab.kubeconfig }
  const nodes = async (...args: string[]): Promise<string> =>
    (await run(join(repository, 'bin/insitu'), ['nodes', ...args], { env })).stdout
  const machines = insitu.lab.nodes.filter((node) => !insitu.lab.foreign.includes(node))
  for (const node of machines) {
    const report = (await insitu.agents()).get(node)?.report
    expect(report?.platforms).toEqual(expect.arrayContaining([...native, ...emulated]))
    expect(report?.nativePlatforms).toEqual(expect.arrayContaining(native))
    expect(report?.nativePlatforms).toEqual(expect.not.arrayContaining(['linux/riscv64']))
    expect(report?.findings.filter(({ code }) => /EMULATOR|BINFMT/.test(code))).toEqual([])
    const line = (await nodes()).split('\n').find((text) => text.startsWith(node))
    expect(line).toMatch(/ linux\/amd64,\S*linux\/386\S* +\S*linux\/riscv64/)
  }
  await using config = await temporary()
  const buildx = async (...args: string[]): Promise<string> =>
    (await run(join(toolsBin, 'buildx'), args, { env: { BUILDX_CONFIG: config.path } })).stdout
  await buildx('create', '--name', 'lab', '--driver', 'remote', door.addr)
  const inspected = await buildx('inspect', 'lab')
  for (const platform of emulated) expect(inspected).toContain(platform)
})

it.for(['linux/arm/v7', 'linux/arm64'])(
  'RUN steps for %s work on a node without emulators of its own',
  async (platform) => {
    await using context = await temporary()
    await writeFile(
      join(context.path, 'Dockerfile'),
      'FROM busybox:multi\nRUN echo "machine is $(uname -m)" && sh -c "ls / | wc -l"\n',
    )
    const opt = { platform, 'insitu.node': 'node1', 'no-cache': '' }
    const { stderr } = await buildctl({ addr: door.addr, context: context.path, opt })
    expect(stderr).toMatch(platform === 'linux/arm64' ? /machine is aarch64/ : /machine is armv[78]l/)
  },
)

it('what somebody removes or switches off is right again', async () => {
  const directory = '/proc/sys/fs/binfmt_misc'
  const write = (name: string, text: string) =>
    insitu.lab.exec('node1', ['tee', `${directory}/${name}`], { input: text })
  const state = async (name: string): Promise<string | undefined> =>
    (await insitu.lab.exec('node1', ['cat', `${directory}/${name}`], { allow: [1] })).stdout.split('\n')[0]
  const [removed, off] = ['insitu-riscv64@node1', 'insitu-s390x@node1'] as const
  expect([await state(removed), await state(off)]).toEqual(['enabled', 'enabled'])
  await write(removed, '-1')
  await write(off, '0')
  await waitFor(
    'both to be there again',
    async () => ((await state(removed)) === 'enabled' && (await state(off)) === 'enabled') || undefined,
    { timeout: 90_000, interval: 1000 },
  )
})

it('an agent takes its handlers with it, and no other one’s; the next one brings them again', async () => {
  const [before, others] = [await handlers('node1'), await handlers('node2')]
  expect(before).toContain('insitu-riscv64@node1')
  expect(others).toContain('insitu-riscv64@node2')
  const pod = (await insitu.agents()).get('node1')?.name ?? ''
  const seen: string[][] = []
  const watching = waitFor(
    'the handlers of node1 to go',
    async () => {
      seen.push(await handlers('node2'))
      return (await handlers('node1')).length === 0 || undefined
    },
    { timeout: 60_000, interval: 50 },
  )
  await Promise.all([watching, insitu.kubectl(['-n', namespace, 'delete', 'pod', pod, '--wait=false'])])
  for (const names of seen) expect(names).toEqual(others)
  await ready(insitu)
  expect(await handlers('node1')).toEqual(before)
})
