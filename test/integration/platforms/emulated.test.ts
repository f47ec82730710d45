import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { startAgent, type TestAgent } from '../fixtures/agent.ts'
import { startBuildkitd } from '../fixtures/buildkitd.ts'
import { buildctl } from '../fixtures/clients.ts'
import { debianContext, debianSays } from '../fixtures/emulated-debian.ts'
import { type Inside, type Output, startNode, type TestNode } from '../fixtures/containerd.ts'

let node: TestNode
let pod: Inside
let agent: TestAgent | undefined
let context: string

beforeAll(async () => {
  node = await startNode()
  pod = await node.pod()
  context = join(node.directory, 'context')
  await debianContext(context)
}, 600_000)

afterAll(async () => {
  await agent?.stop()
  await node?.stop()
})

const start = async (...args: string[]): Promise<TestAgent> => {
  const started = startAgent(node, pod, { args: ['--emulators', '/usr/bin', ...args] })
  agent = started
  await started.ready()
  return started
}

const build = (on: TestAgent, target: string, ...more: string[]): Promise<Output> =>
  on.buildctl([
    ...['build', '--progress', 'plain', '--frontend', 'dockerfile.v0', '--local', `context=${context}`],
    ...['--local', `dockerfile=${context}`, '--opt', 'platform=linux/arm/v7', '--opt', `target=${target}`, ...more],
  ])

it('a Debian for armhf builds as on its own machine: apt and dpkg, a compiler, threads, Go', async () => {
  const started = await start()
  const workers = await started.buildctl(['debug', 'workers'])
  expect(workers.stdout).toMatch(/linux\/arm\/v7,linux\/arm\/v6/)
  expect(workers.stdout).toMatch(/linux\/riscv64.*linux\/ppc64le.*linux\/s390x.*linux\/mips64le.*linux\/loong64/)
  const { code, stderr } = await build(started, 'run')
  expect(code, stderr).toBe(0)
  for (const words of debianSays.run) expect(stderr).toContain(words)
}, 600_000)

it('Node runs there too, with its compiler and its event loop', async () => {
  if (!agent) throw new Error('the agent runs')
  const { code, stderr } = await build(agent, 'scripts')
  expect(code, stderr).toBe(0)
  for (const words of debianSays.scripts) expect(stderr).toContain(words)
}, 600_000)

it('without a handler it is broken: what the daemon emulates by itself starts nothing in turn', async () => {
  const daemon = await startBuildkitd({ emulatesItself: true })
  try {
    const arm = ['--opt=platform=linux/arm/v7', '--opt=target=packages']
    const { exitCode, output } = await buildctl(daemon.address, context, arm).ended
    expect(exitCode).not.toBe(0)
    // The first program runs, and is the shell.
    expect(output).toMatch(/\/bin\/sh: 1: dpkg: Exec format error/)
  } finally {
    await daemon.stop()
  }
}, 600_000)

it('setuid programs run with the rights of their caller, and with their own where insitu.toml wants it', async () => {
  if (!agent) throw new Error('the agent runs')
  const caller = await build(agent, 'rights', '--opt', 'build-arg:TRY=1')
  expect(caller.stderr).toContain(debianSays.rights.ofCaller)
  expect(await agent.stop()).toBe(0)
  const file = join(node.directory, 'insitu.toml')
  await writeFile(file, '[agent.disk]\nfollowKubelet = false\n[agent.emulators]\ncredentials = true\n')
  const own = await build(await start('--insitu-config', file), 'rights', '--opt', 'build-arg:TRY=2')
  expect(own.stderr).toContain(debianSays.rights.ofItself)
  expect([caller.code, own.code]).toEqual([0, 0])
}, 600_000)
