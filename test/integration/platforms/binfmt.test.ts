import { execFile, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { appendFile, copyFile, cp, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { architectures } from '../../../src/agent/binfmt/architectures.ts'
import { patternOf, smallestProgram } from '../../../src/agent/binfmt/elf.ts'
import type { Entry } from '../../../src/agent/binfmt/entry.ts'
import { type BinfmtKernel, openKernel } from '../../../src/agent/binfmt/kernel.ts'
import { hostEntry } from '../../../src/agent/binfmt/plan.ts'
import { prove } from '../../../src/agent/binfmt/prove.ts'
import type { RunningPart } from '../../../src/agent/part.ts'
import type { AgentConfig } from '../../../src/api/agent-config.ts'
import type { NodeReport } from '../../../src/api/node-report.ts'
import { run } from '../../../src/kernel/process/run.ts'
import { startBinfmt } from '../fixtures/binfmt-agent.ts'
import type { InstanceSeen } from '../fixtures/binfmt-instance.ts'
import { until } from '../fixtures/until.ts'

// One kernel for all of this machine: other tests may have handlers of theirs. These here are about arm (32 bits) and
// riscv64, which nobody else registers, unless the host does.
const kept = ['arm', 'riscv64']
const node = `binfmt-${process.pid}`
let scratch: string
let kernel: BinfmtKernel
let hosts: readonly Entry[]
const running: RunningPart[] = []

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'insitu-binfmt-'))
  kernel = await openKernel(join(scratch, 'own'))
  // A machine with binfmt-support has handlers already: they are put away for these tests, and put back.
  hosts = (await kernel.entries()).filter((entry) => /^qemu-(arm|riscv64)$/.test(entry.name))
  for (const { name } of hosts) await kernel.remove(name)
})
afterEach(async () => {
  for (const part of running.splice(0)) await part.stop()
})
afterAll(async () => {
  for (const host of hosts) await kernel.register({ ...host, flags: host.flags.replace(/[^POCF]/g, '') })
  await kernel.close()
  await rm(scratch, { recursive: true })
})

const arm = architectures.find(({ qemu }) => qemu === 'arm')!
const names = async (): Promise<string[]> => (await kernel.entries()).map(({ name }) => name).sort()
const entry = async (name: string): Promise<Entry | undefined> => (await kernel.entries()).find((e) => e.name === name)

/** A directory of interpreters: copies, so that they can be changed. */
async function interpreters(qemus: readonly string[] = kept): Promise<string> {
  const directory = await mkdtemp(join(scratch, 'interpreters-'))
  for (const qemu of qemus) await cp(`/usr/bin/qemu-${qemu}-static`, join(directory, `qemu-${qemu}-static`))
  return directory
}

interface Start {
  readonly node?: string
  readonly root?: string
  readonly interpreters: string
  readonly config?: Partial<AgentConfig['emulators']>
  readonly auxv?: string
}

async function start(options: Start): Promise<RunningPart & { root: string }> {
  const root = options.root ?? (await mkdtemp(join(scratch, 'root-')))
  const part = await startBinfmt({ node, root, interval: 100, ...options })
  let ended: Promise<void> | undefined
  const once = { ...part, root, stop: () => (ended ??= part.stop()) }
  running.push(once)
  return once
}

/** As buildkitd lists them on amd64. */
const listed = ['linux/amd64', 'linux/amd64/v2', 'linux/386', 'linux/arm/v7', 'linux/arm/v6', 'linux/riscv64']
const report = (part: RunningPart): Partial<NodeReport> =>
  part.report?.({ platforms: listed } as unknown as NodeReport) ?? {}
const ownName = async (qemu: string): Promise<string> =>
  until(`the handler for ${qemu}`, async () =>
    (await names()).find((name) => name.startsWith(`insitu-${qemu}@${node}`)),
  )

it('the smallest programs run under every emulator that Debian has, and know their name', async () => {
  const all = architectures.map(({ qemu }) => qemu).filter((qemu) => qemu !== 'x86_64')
  const before = await names()
  const part = await start({ interpreters: await interpreters(all) })
  expect(part.findings?.()).toEqual([])
  const entries = await kernel.entries()
  const mine = entries.map(({ name }) => name).filter((name) => !before.includes(name))
  const isMine = (qemu: string): boolean => mine.some((name) => name.startsWith(`insitu-${qemu}@`))
  const own = architectures.map(({ qemu }) => qemu).filter(isMine)
  for (const architecture of architectures) {
    const { qemu } = architecture
    const proof = await prove(architecture, process.env['PATH'] ?? '')
    // What is not mine is the processor's own, or somebody has a handler: the lab for arm64, binfmt-support for all.
    const fits = isMine(qemu) ? proof === 'runs' : proof === 'runs' || proof === 'renamed'
    const served = isMine(qemu) || /x86_64|i386/.test(qemu) || hostEntry(entries, architecture) !== undefined
    expect({ qemu, proof, fits, served }).toEqual({ qemu, proof, fits: true, served: true })
  }
  expect(own).toEqual(expect.arrayContaining(kept))
  expect(own).not.toContain('i386')
  expect((await entry(await ownName('arm')))?.flags).toBe('PF')
  await part.stop()
  expect(await names()).toEqual(before)
  expect(existsSync(join(part.root, 'insitu-binfmt'))).toBe(false)
  expect(await readdir(part.root)).toEqual(expect.not.arrayContaining(['emulators']))
})

it('native and emulated platforms are told apart, and both are offered', async () => {
  const part = await start({ interpreters: await interpreters() })
  expect(report(part)).toEqual({
    platforms: listed,
    nativePlatforms: ['linux/amd64', 'linux/amd64/v2', 'linux/386'],
  })
})

it('a handler that somebody removes or switches off is there again', async () => {
  await start({ interpreters: await interpreters() })
  const name = await ownName('arm')
  await kernel.remove(name)
  await until('the handler to be back', async () => (await names()).includes(name))
  await writeFile(join(binfmt(), name), '0')
  await until('the handler to be on', async () => (await entry(name))?.enabled)
})

it('a handler of the host is preferred and left alone, and missed when it goes', async () => {
  await start({ interpreters: await interpreters() })
  const own = await ownName('arm')
  const host = {
    name: `test-arm-${process.pid}`,
    interpreter: '/usr/bin/qemu-arm-static',
    flags: 'F',
    pattern: patternOf(arm),
  }
  await kernel.register(host)
  try {
    await until('our handler to go', async () => !(await names()).includes(own))
    expect(await entry(host.name)).toMatchObject({ enabled: true, flags: 'F', interpreter: host.interpreter })
  } finally {
    await kernel.remove(host.name)
  }
  await until('our handler to be back', async () => (await names()).includes(own))
})

it('a handler of the host that does not work in containers is a finding, and the platform is not offered', async () => {
  const host = {
    name: `test-arm-${process.pid}`,
    interpreter: '/usr/bin/qemu-arm-static',
    flags: '',
    pattern: patternOf(arm),
  }
  await kernel.register(host)
  try {
    const part = await start({ interpreters: await interpreters() })
    expect(part.findings?.()).toEqual([
      expect.objectContaining({ code: 'EMULATOR_HOST_BROKEN', fix: expect.stringContaining('flag F') as string }),
    ])
    expect(report(part).platforms).toEqual(listed.filter((platform) => !platform.includes('/arm')))
    expect((await names()).some((name) => name.startsWith(`insitu-arm@${node}`))).toBe(false)
    await kernel.remove(host.name)
    await until(
      'our own instead',
      async () => part.findings?.().length === 0 && report(part).platforms?.includes('linux/arm/v7'),
    )
  } finally {
    await kernel.remove(host.name)
  }
})

it('an emulator of ours that does not work is not left registered, and not offered', async () => {
  const directory = await interpreters()
  await copyFile('/bin/false', join(directory, 'qemu-arm-static'))
  const part = await start({ interpreters: directory })
  expect(part.findings?.()).toEqual([expect.objectContaining({ code: 'EMULATOR_BROKEN' })])
  expect(report(part).platforms).toEqual(listed.filter((platform) => !platform.includes('/arm')))
  expect((await names()).some((name) => name.startsWith(`insitu-arm@${node}`))).toBe(false)
})

it('after a kill, a reboot, and an upgrade of the emulator it is right again: F keeps the old file open', async () => {
  const directory = await interpreters()
  const root = await mkdtemp(join(scratch, 'root-'))
  const program = join(import.meta.dirname, '../fixtures/binfmt-agent.ts')
  const kill = async (): Promise<void> => {
    const child = spawn(process.execPath, [program, root, node, directory], { stdio: ['ignore', 'pipe', 'inherit'] })
    await new Promise((resolve) => child.stdout.once('data', resolve))
    child.kill('SIGKILL')
    await new Promise((resolve) => child.once('exit', resolve))
  }
  await kill()
  const name = await ownName('arm')
  const old = await entry(name)
  // The same image again: nothing is changed.
  await (await start({ root, interpreters: directory })).stop()
  expect(await names()).not.toContain(name)
  // What a reboot leaves: the memory of names, and no handlers.
  await writeFile(join(root, 'insitu-binfmt'), `${name}\n`)
  const rebooted = await start({ root, interpreters: directory })
  expect(await entry(name)).toEqual(old)
  await rebooted.stop()
  // A new image after a kill: the same name, another file.
  await kill()
  expect(await entry(name)).toEqual(old)
  await rm(join(directory, 'qemu-arm-static'))
  await copyFile('/usr/bin/qemu-arm-static', join(directory, 'qemu-arm-static'))
  await appendFile(join(directory, 'qemu-arm-static'), 'newer')
  await start({ root, interpreters: directory })
  expect((await entry(name))?.interpreter).not.toBe(old?.interpreter)
  expect(await prove(arm, process.env['PATH'] ?? '')).toBe('runs')
})

it('two agents on one kernel: the one that ends takes nothing from the other', async () => {
  const directory = await interpreters()
  const first = await start({ node: `${node}-one`, interpreters: directory })
  await start({ node: `${node}-two`, interpreters: directory })
  const ofNode = async (which: string): Promise<string[]> =>
    (await names()).filter((name) => name.includes(`@${node}-${which}`))
  expect([await ofNode('one'), await ofNode('two')].map((list) => list.length)).toEqual([2, 2])
  await first.stop()
  expect([await ofNode('one'), await ofNode('two')].map((list) => list.length)).toEqual([0, 2])
  expect(await prove(arm, process.env['PATH'] ?? '')).toBe('runs')
})

it('only the platforms that insitu.toml names are registered, and flag C only when it says so', async () => {
  await start({ interpreters: await interpreters(), config: { platforms: ['linux/arm/v7'], credentials: true } })
  expect((await entry(await ownName('arm')))?.flags).toBe('POCF')
  expect((await names()).filter((name) => name.includes(`riscv64@${node}`))).toEqual([])
})

it.for([
  ['BINFMT_USER_NAMESPACE', 'hostUsers', ['unshare', '--user', '--map-root-user', '--mount']],
  // Without the right to mount it is as with a kernel that has none.
  [
    'BINFMT_MISSING',
    'modprobe binfmt_misc',
    ['unshare', '--mount', 'sh', '-c', 'umount /proc/sys/fs/binfmt_misc 2>/dev/null; exec "$@"', 'sh'].concat([
      ...['setpriv', '--bounding-set=-sys_admin', '--inh-caps=-sys_admin'],
    ]),
  ],
] as const)('%s is a finding with a fix, and the agent goes on', async ([code, fix, inside]) => {
  const root = await mkdtemp(join(scratch, 'root-'))
  const program = join(import.meta.dirname, '../fixtures/binfmt-agent.ts')
  const [file = '', ...before] = inside
  const child = spawn(file, [...before, process.execPath, program, root, node, '/usr/bin'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const said = await new Promise<string>((resolve) => child.stdout.once('data', (text) => resolve(String(text))))
  child.kill('SIGKILL')
  await new Promise((resolve) => child.once('exit', resolve))
  const finding = expect.objectContaining({
    ...{ code, severity: 'warning' },
    fix: expect.stringContaining(fix) as string,
  }) as unknown
  expect(JSON.parse(said)).toEqual([finding])
  const doctor = await doctorIn([file, ...before])
  expect(doctor.emulated).toEqual([])
  expect(doctor.findings.filter((one) => /BINFMT|EMULATOR/.test(one.code))).toEqual([finding])
})

it('a doctor shows what is emulated, by whomever, and a handler that does not work, with the fix', async () => {
  await start({ interpreters: await interpreters() })
  await ownName('arm')
  const shown = await doctorIn()
  expect(shown.emulated).toEqual(expect.arrayContaining(['arm', 'riscv64']))
  // Other architectures are other tests' and the lab's.
  expect(shown.findings.filter((one) => one.code.startsWith('BINFMT') || one.message.includes('riscv64'))).toEqual([])
  const host = {
    ...{ name: `test-riscv64-${process.pid}`, interpreter: '/usr/bin/qemu-riscv64-static', flags: '' },
    pattern: patternOf(architectures.find(({ qemu }) => qemu === 'riscv64')!),
  }
  await kernel.register(host)
  try {
    const { findings } = await doctorIn()
    expect(
      findings.find((one) => one.code === 'EMULATOR_HOST_BROKEN' && one.message.includes(host.name)),
    ).toMatchObject({ fix: expect.stringContaining('flag F') as string })
  } finally {
    await kernel.remove(host.name)
  }
})

describe('an instance of a user namespace', () => {
  const look = async (state: '0' | '1'): Promise<InstanceSeen> => {
    const own = await mkdtemp(join(scratch, 'instance-'))
    const program = join(import.meta.dirname, '../fixtures/binfmt-instance.ts')
    const script = 'mount -t binfmt_misc none "$1" && echo "$2" > "$1/status" && shift 2 && exec "$@"'
    const args = ['--user', '--map-root-user', '--mount', 'sh', '-c', script, 'sh', own, state]
    const links = await mkdtemp(join(scratch, 'links-'))
    const { stdout } = await run('unshare', [...args, process.execPath, program, links, own, node], {
      timeout: 120_000,
    })
    return JSON.parse(stdout) as InstanceSeen
  }

  it('that is switched off is a finding with a fix, and gets no handler', async () => {
    const { emulated, findings, handlers } = await look('0')
    expect([emulated, handlers]).toEqual([[], []])
    expect(findings).toEqual([
      expect.objectContaining({ code: 'BINFMT_DISABLED', fix: expect.stringContaining('/status') as string }),
    ])
  })

  it('has handlers that nobody else has: so an agent in one would help no RUN step', async () => {
    const { emulated, findings, handlers } = await look('1')
    expect({ emulated, findings }).toEqual({ emulated: ['riscv64'], findings: [] })
    expect(handlers).toHaveLength(1)
    expect(await names()).not.toContain(handlers[0])
  })
})

it('pages of 16 KiB are a finding with a fix, as Linux tells its processes about them', async () => {
  // Writes what it finds on its stack: the kernel of loongarch64, which qemu plays, has such pages.
  const loong64 = architectures.find(({ qemu }) => qemu === 'loongarch64')!
  const instructions = [
    ...[0x03800404, 0x03800065, 0x03860006, 0x0381000b, 0x002b0000], // write(1, sp, 384)
    ...[0x03800004, 0x0381740b, 0x002b0000], // exit(0)
  ]
  const code = Buffer.from(new Uint32Array(instructions).buffer).toString('hex')
  const program = join(scratch, 'stack')
  await writeFile(program, smallestProgram({ ...loong64, code }), { mode: 0o755 })
  const stack = await new Promise<Buffer>((resolve, reject) => {
    execFile('/usr/bin/qemu-loongarch64-static', [program], { env: {}, encoding: 'buffer' }, (error, out) =>
      error ? reject(error) : resolve(out),
    )
  })
  // argc, argv with its end, the end of an empty environment, then the auxiliary vector: the ABI of every 64-bit Linux.
  const argc = Number(stack.readBigUInt64LE(0))
  const auxv = join(scratch, 'auxv')
  await writeFile(auxv, stack.subarray(8 * (argc + 3)))
  const part = await start({ interpreters: await interpreters(), auxv })
  expect(part.findings?.()).toEqual([
    expect.objectContaining({
      ...{ code: 'BINFMT_PAGE_SIZE', severity: 'warning' },
      message: expect.stringMatching(/pages are 16 KiB: .*\(.*arm.*\)/) as string,
      fix: expect.stringContaining('a kernel with pages of 4 KiB') as string,
    }),
  ])
})

interface Shown {
  readonly emulated: readonly string[]
  readonly findings: readonly { readonly code: string; readonly message: string; readonly fix?: string }[]
}

/** What `insitu doctor` shows of a machine without containerd. @param inside arguments before the command. */
async function doctorIn(inside: readonly string[] = []): Promise<Shown> {
  const program = join(import.meta.dirname, '../../../bin/insitu')
  const nowhere = ['--root', join(scratch, 'none'), '--containerd-address', join(scratch, 'none.sock')]
  const [file = '', ...args] = [...inside, program, 'doctor', '--output', 'json', ...nowhere]
  // 1: nothing can be built there.
  return JSON.parse((await run(file, args, { allow: [1], timeout: 120_000 })).stdout) as Shown
}

/** Where this process sees the handlers. */
const binfmt = (): string =>
  existsSync('/proc/sys/fs/binfmt_misc/register') ? '/proc/sys/fs/binfmt_misc' : join(scratch, 'own/binfmt_misc')
