import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { run, type RunOptions, type RunResult } from '../../src/kernel/process/run.ts'
import { until } from './fixtures/until.ts'

const repository = join(import.meta.dirname, '../..')

/** Keeps a network of the demo's own: others change the machine's while it runs. */
let network: ChildProcess
const inNetwork = (file: string, args: readonly string[] = [], options?: RunOptions): Promise<RunResult> =>
  run('nsenter', [`--net=/proc/${network.pid}/ns/net`, '--', file, ...args], options)

beforeAll(async () => {
  network = spawn('unshare', ['--net', 'sleep', 'infinity'], { stdio: 'ignore' })
  await until('the network', async () => (await readFile(`/proc/${network.pid}/comm`, 'utf8')).trim() === 'sleep')
  await inNetwork('ip', ['link', 'set', 'lo', 'up'])
})
afterAll(() => void network?.kill('SIGKILL'))

/** What a demo may not leave behind on the machine. */
const machine = async (): Promise<Record<string, string>> => ({
  mounts: (await readFile('/proc/self/mountinfo', 'utf8'))
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((mount) => mount.startsWith(`${repository}/.local/`))
    .join('\n'),
  links: (await inNetwork('ip', ['-o', 'link', 'show', 'type', 'bridge'])).stdout,
  rules: (await inNetwork('iptables', ['-w', '-S'])).stdout,
  nat: (await inNetwork('iptables', ['-w', '-t', 'nat', '-S'])).stdout,
  mangle: (await inNetwork('iptables', ['-w', '-t', 'mangle', '-S'])).stdout,
  forwarding: (await inNetwork('cat', ['/proc/sys/net/ipv4/ip_forward'])).stdout,
})

it('the demo of the README: a build on a port, a container from it, nothing pulled, nothing left', async () => {
  const before = await machine()
  const { stdout, stderr } = await inNetwork(join(repository, 'scripts/demo.sh'), [], { timeout: 280_000 })
  expect(stdout).toContain('hello from an image that was never pushed and never pulled')
  expect(stdout).toMatch(/pulled +0 bytes/)
  expect(stderr).toContain('[insitu] node')
  expect(existsSync(join(repository, '.local'))).toBe(false)
  expect(await machine()).toEqual(before)
}, 300_000)

it('insitu local says what is wrong with its options, and starts nothing', async () => {
  const local = (...args: string[]) =>
    run(join(repository, 'bin/insitu'), ['local', ...args], { allow: [1, 2], timeout: 30_000 })
  const address = await local('--listen', 'nonsense')
  expect(address.exitCode).toBe(2)
  expect(address.stderr).toContain('"nonsense" is not an address')
  const config = await local('--config', '/nowhere/buildkitd.toml')
  expect(config.exitCode).toBe(2)
  expect(config.stderr).toContain('/nowhere/buildkitd.toml')
})
