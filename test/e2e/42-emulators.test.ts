import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { architectures } from '../../src/agent/binfmt/architectures.ts'
import { smallestProgram } from '../../src/agent/binfmt/elf.ts'
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

it('a program of every architecture that Debian’s qemu has runs in a RUN step', async () => {
  await using context = await temporary()
  await mkdir(join(context.path, 'programs'))
  for (const architecture of architectures) {
    // It ends with the first letter of the name that it was called by.
    await writeFile(join(context.path, 'programs', `o-${architecture.qemu}`), smallestProgram(architecture))
  }
  const step = 'RUN export PATH=/programs; cd /programs; for one in *; do $one; echo "$one ends with $?"; done'
  const lines = ['FROM busybox', 'COPY --chmod=755 programs /programs', step, '']
  await writeFile(join(context.path, 'Dockerfile'), lines.join('\n'))
  const opt = { 'insitu.node': 'node1', 'no-cache': '' }
  const { stderr } = await buildctl({ addr: door.addr, context: context.path, opt })
  // Handlers of others may lack the flag P: then programs know their path instead.
  const codes = ['o', '/'].map((letter) => letter.charCodeAt(0)).join('|')
  for (const { qemu } of architectures) expect(stderr).toMatch(new RegExp(` o-${qemu} ends with (${codes})$`, 'm'))
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
  // The node has them mounted nowhere when the next one comes, as a machine on which nobody has done it.
  const mounted = async (): Promise<boolean> =>
    (await insitu.lab.exec('node1', ['ls', '/proc/sys/fs/binfmt_misc'])).stdout.includes('register')
  expect(await mounted()).toBe(true)
  await insitu.lab.exec('node1', ['umount', '/proc/sys/fs/binfmt_misc'])
  onTestFinished(async () => {
    await insitu.lab.exec('node1', ['mount', '-t', 'binfmt_misc', 'binfmt_misc', '/proc/sys/fs/binfmt_misc'])
  })
  expect(await mounted()).toBe(false)
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
  expect((await insitu.agents()).get('node1')?.report).toMatchObject({
    platforms: expect.arrayContaining(emulated) as unknown,
    findings: expect.not.arrayContaining([expect.objectContaining({ code: 'BINFMT_MISSING' })]) as unknown,
  })
  expect(await mounted()).toBe(false)
})

describe('insitu doctor', () => {
  const doctor = async (pod: string): Promise<string> =>
    insitu.kubectl(['-n', namespace, 'exec', pod, '--', 'insitu', 'doctor'])

  it('in an agent’s pod shows what the node emulates', async () => {
    const said = await doctor((await insitu.agents()).get('node1')?.name ?? '')
    expect(said).toMatch(/^emulated: .*arm, riscv64, ppc64le, s390x, .*mips64le, loong64$/m)
    expect(said).not.toMatch(/BINFMT_|EMULATOR_/)
  })

  it('in a user namespace of the node says that handlers of there would not hold, with the fix', async () => {
    const own = ['unshare', '--user', '--map-root-user', '--mount', join(repository, 'bin/insitu'), 'doctor']
    const { stdout } = await insitu.lab.exec('node1', own, { allow: [1] })
    expect(stdout).toMatch(/^WARNING BINFMT_USER_NAMESPACE: .*\n +fix: run the agent without a user namespace/m)
  })
})
