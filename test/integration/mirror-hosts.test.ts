import type { ChildProcess } from 'node:child_process'
import { chmod, chown, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { cleanNode } from '../../src/agent/clean/clean.ts'
import { endProcess, firstChild, startNode, type TestNode } from './fixtures/containerd.ts'
import { toolsBin } from './fixtures/paths.ts'
import { until } from './fixtures/until.ts'

const program = fileURLToPath(new URL('./fixtures/mirror-agent.ts', import.meta.url))
const original =
  '# the admin’s\nserver = "http://127.0.0.1:1"\n\n[host."http://127.0.0.1:2"]\n  capabilities = ["pull"]\n'

let node: TestNode
let certs: string
let agent: ChildProcess | undefined

const files = async (): Promise<Record<string, string>> => {
  const found: Record<string, string> = {}
  for (const name of await readdir(certs).catch(() => [])) {
    for (const file of await readdir(join(certs, name)).catch(() => [])) {
      // A file that is being replaced has a temporary name for a moment.
      const text = await readFile(join(certs, name, file), 'utf8').catch(() => undefined)
      if (text !== undefined) found[`${name}/${file}`] = text
    }
  }
  return found
}
const asItWas = { uid: 1234, gid: 4321, mode: 0o100_640 }
const asBefore = { 'docker.io/hosts.toml': original, 'certified.test/ca.crt': 'a certificate' }
const isRegistered = async (): Promise<boolean> => {
  const all = await files()
  return all['_default/hosts.toml']?.includes('127.0.0.1') === true && all['docker.io/hosts.toml'] !== original
}
/** Process id, as this machine sees it, of the program itself. */
async function start(): Promise<number> {
  const own = join(node.directory, 'own')
  agent = node.start(process.execPath, [program, node.address, own, `${toolsBin}:${process.env['PATH']}`])
  let log = ''
  agent.stderr?.on('data', (text) => (log += String(text)))
  await until('the mirror to be registered', isRegistered, 20_000).catch((error: unknown) => {
    throw new Error(`${String(error)}\n${log}`)
  })
  return until('its process', () => firstChild(agent?.pid))
}
const restored = (): Promise<unknown> =>
  until('all files to be as before', async () => isDeepStrictEqual(await files(), asBefore))

/** nsenter stops itself when its child is stopped. */
function goOn(pid: number): void {
  for (const one of [pid, agent?.pid ?? pid]) process.kill(one, 'SIGCONT')
}

beforeAll(async () => {
  node = await startNode()
  certs = join(node.directory, 'certs.d')
  await mkdir(join(certs, 'docker.io'), { recursive: true })
  await mkdir(join(certs, 'certified.test'))
  await writeFile(join(certs, 'docker.io/hosts.toml'), original)
  await chmod(join(certs, 'docker.io/hosts.toml'), 0o640)
  await chown(join(certs, 'docker.io/hosts.toml'), 1234, 4321)
  await writeFile(join(certs, 'certified.test/ca.crt'), 'a certificate')
})
afterAll(async () => {
  if (agent) await endProcess(agent, 'SIGKILL')
  await node?.stop()
})

it('stands in front of every registry while it runs, and nothing is left when it stops', async () => {
  await start()
  const all = await files()
  expect(all['docker.io/hosts.toml']).toMatch(
    /server = [\s\S]*insitu: begin[\s\S]*insitu: end\n\[host."http:\/\/127.0.0.1:2"\]/,
  )
  // A hosts.toml would switch off certificates in docker's layout.
  expect(Object.keys(all).filter((name) => name.startsWith('certified.test'))).toEqual(['certified.test/ca.crt'])
  const secret = { uid: 0, gid: 0, mode: 0o100_600 }
  expect(await stat(join(certs, 'docker.io/hosts.toml'))).toMatchObject(secret)
  await endProcess(agent!, 'SIGTERM')
  expect(await files()).toEqual(asBefore)
  expect(await stat(join(certs, 'docker.io/hosts.toml'))).toMatchObject(asItWas)
  expect(await readdir(certs)).not.toContain('_default')
})

it('is taken away when the agent hangs, comes back with it, and a pull is never held up for long', async () => {
  const pid = await start()
  process.kill(pid, 'SIGSTOP')
  const begun = performance.now()
  // containerd waits for an answer for 30 s; the name is on a registry that refuses at once.
  const pull = node.run('ctr', ['-n', 'k8s.io', 'images', 'pull', '--hosts-dir', certs, 'docker.io/library/nothing:1'])
  await restored()
  expect(await stat(join(certs, 'docker.io/hosts.toml'))).toMatchObject(asItWas)
  expect(performance.now() - begun).toBeLessThan(15_000)
  const later = ['-n', 'k8s.io', 'images', 'pull', '--hosts-dir', certs, 'docker.io/library/nothing:2']
  expect((await node.run('ctr', later)).code).not.toBe(0)
  // It has waited for nobody: who asks the mirror waits until the agent is killed.
  expect(await readFile(`/proc/${pid}/stat`, 'utf8')).toContain(' T ')
  goOn(pid)
  await until('the mirror to be registered again', isRegistered)
  expect((await pull).code).not.toBe(0)
  await endProcess(agent!, 'SIGTERM')
  await restored()
})

it('is ended when it hangs for long, so that pulls that wait go on', async () => {
  const pid = await start()
  process.kill(pid, 'SIGSTOP')
  const begun = performance.now()
  const pull = node.run('ctr', ['-n', 'k8s.io', 'images', 'pull', '--hosts-dir', certs, 'docker.io/library/nothing:1'])
  await pull
  try {
    await until('the agent to be killed', async () =>
      (await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ' Z ')).includes(' Z '),
    )
    expect(performance.now() - begun).toBeLessThan(29_000)
    await restored()
  } finally {
    goOn(agent!.pid!)
  }
})

it('leaves nothing when it is killed, nor when its watchdog dies with it', async () => {
  let pid = await start()
  process.kill(pid, 'SIGKILL')
  await restored()
  pid = await start()
  for (const child of (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).split(' ').filter(Boolean)) {
    process.kill(Number(child), 'SIGKILL')
  }
  process.kill(pid, 'SIGKILL')
  // What a node that was switched off has kept: clean-node finds it.
  expect(await isRegistered()).toBe(true)
  const clean = { root: node.buildkitRoot, namespace: 'k8s.io', keepCache: true, hostRoot: `/proc/${node.pid}/root` }
  const { removed } = await cleanNode(clean)
  expect(removed).toContain(join(certs, 'docker.io/hosts.toml'))
  await restored()
})
