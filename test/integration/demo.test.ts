import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { run } from '../../src/kernel/process/run.ts'
import { freePort } from '../free-port.ts'

const repository = join(import.meta.dirname, '../..')

/** What a demo may not leave behind on the machine. */
const machine = async (): Promise<Record<string, string>> => ({
  mounts: (await readFile('/proc/self/mountinfo', 'utf8'))
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((mount) => mount.includes('/.local/'))
    .join('\n'),
  links: (await run('ip', ['-o', 'link', 'show', 'type', 'bridge'])).stdout,
  rules: (await run('iptables', ['-w', '-S'])).stdout,
  nat: (await run('iptables', ['-w', '-t', 'nat', '-S'])).stdout,
  mangle: (await run('iptables', ['-w', '-t', 'mangle', '-S'])).stdout,
  forwarding: await readFile('/proc/sys/net/ipv4/ip_forward', 'utf8'),
})

it('the demo of the README: a build on a port, a container from it, nothing pulled, nothing left', async () => {
  const before = await machine()
  const { stdout, stderr } = await run(join(repository, 'scripts/demo.sh'), [], {
    env: { INSITU_DEMO_PORT: String(await freePort()) },
    timeout: 110_000,
  })
  expect(stdout).toContain('hello from an image that was never pushed and never pulled')
  expect(stdout).toMatch(/pulled +0 bytes/)
  expect(stderr).toContain('[insitu] node')
  expect(existsSync(join(repository, '.local'))).toBe(false)
  expect(await machine()).toEqual(before)
})

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
