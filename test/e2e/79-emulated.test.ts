import { afterAll, beforeAll, expect, it } from 'vitest'
import { configMaps, namespace } from '../../src/api/names.ts'
import { debianContext, debianSays } from '../integration/fixtures/emulated-debian.ts'
import { buildctl, ensureInstalled, type Installed, ready, restartAgents, temporary } from './fixtures/insitu.ts'
import { portForward } from './fixtures/port-forward.ts'

const node = 'node1'
let insitu: Installed
let door: Awaited<ReturnType<typeof portForward>>
let context: Awaited<ReturnType<typeof temporary>>

beforeAll(async () => {
  insitu = await ensureInstalled()
  await ready(insitu)
  context = await temporary()
  await debianContext(context.path)
  door = await portForward(insitu.lab)
})
afterAll(async () => {
  await door?.[Symbol.asyncDispose]()
  await context?.[Symbol.asyncDispose]()
})

const build = async (target: 'run' | 'scripts' | 'rights', tried = ''): Promise<string> => {
  const opt = { platform: 'linux/arm/v7', 'insitu.node': node, 'build-arg:TRY': tried, target }
  return (await buildctl({ addr: door.addr, context: context.path, opt, timeout: 600_000 })).stderr
}

/** How the kernel was told to run programs for arm. */
const handler = async (): Promise<string> =>
  (await insitu.lab.exec(node, ['cat', `/proc/sys/fs/binfmt_misc/insitu-arm@${node}`])).stdout

it('a Debian for armhf builds on a node without emulators: apt and dpkg, a compiler, threads, Go, Node', async () => {
  const said = await build('run')
  expect(said).toContain(`[insitu] node ${node}: `)
  expect(said).toContain('linux/arm/v7 is emulated')
  for (const words of debianSays.run) expect(said).toContain(words)
  const scripts = await build('scripts')
  for (const words of debianSays.scripts) expect(scripts).toContain(words)
}, 900_000)

it('setuid programs run with the rights of their caller, and with their own where insitu.toml wants it', async () => {
  expect(await handler()).toMatch(/^flags: PF$/m)
  expect(await build('rights', 'as it is')).toContain(debianSays.rights.ofCaller)
  const data = { 'insitu.toml': '[agent.emulators]\ncredentials = true\n' }
  const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: configMaps.insitu, namespace }, data }
  await insitu.kubectl(['apply', '-f', '-'], JSON.stringify(object))
  try {
    await restartAgents(insitu)
    expect(await handler()).toMatch(/^flags: POCF$/m)
    expect(await build('rights', 'as wanted')).toContain(debianSays.rights.ofItself)
  } finally {
    await insitu.kubectl(['-n', namespace, 'delete', 'cm', configMaps.insitu])
    await restartAgents(insitu)
  }
}, 900_000)
