import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { debianPackages } from '../../lab/images/packages.ts'
import { run } from '../../../src/kernel/process/run.ts'
import { type Buildkitd, startBuildkitd } from '../fixtures/buildkitd.ts'
import { buildctl, startClient } from '../fixtures/clients.ts'
import { startEmulator, type TestEmulator } from '../fixtures/emulator.ts'

let emulator: TestEmulator
let daemon: Buildkitd
let context: string

beforeAll(async () => {
  context = await mkdtemp(join(tmpdir(), 'insitu-foreign-'))
  const [busybox = ''] = await debianPackages('arm64', ['busybox-static'])
  await run('dpkg-deb', ['-x', busybox, context])
  await writeFile(
    join(context, 'Dockerfile'),
    'FROM scratch\nADD bin/busybox /bin/busybox\nRUN ["/bin/busybox", "uname", "-m"]\n',
  )
  emulator = await startEmulator()
  daemon = await startBuildkitd({ foreign: true })
}, 120_000)
afterAll(async () => {
  await daemon?.stop()
  await emulator?.stop()
  await rm(context, { recursive: true, force: true })
})

it('a daemon of the other architecture names it first and builds for it without being asked', async () => {
  const workers = await startClient('buildctl', ['--addr', daemon.address, 'debug', 'workers']).ended
  expect(workers.output).toMatch(/\blinux\/arm64,linux\/amd64/)
  const built = await buildctl(daemon.address, context).ended
  expect(built.output).toContain('aarch64')
  expect(built.exitCode).toBe(0)
})
