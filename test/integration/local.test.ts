import { spawn } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { run } from '../../src/kernel/process/run.ts'
import { tool, toolsBin } from './fixtures/paths.ts'
import { until } from './fixtures/until.ts'

const program = fileURLToPath(new URL('../../bin/insitu', import.meta.url))
const env = { ...process.env, PATH: `${toolsBin}:${process.env['PATH'] ?? ''}` }

/** Command lines of the machine's processes that hold a text. */
async function processesWith(text: string): Promise<string[]> {
  const lines = await Promise.all(
    (await readdir('/proc'))
      .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
      .map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')),
  )
  return lines.map((line) => line.replaceAll('\0', ' ')).filter((line) => line.includes(text))
}

it('Ctrl-C in the terminal of insitu local ends a running build and leaves nothing of it', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'il-'))
  const socket = join(directory, 'insitu.sock')
  // The command of the RUN step names this test: it is found among the processes of the machine.
  const step = join('/bin', directory.replaceAll('/', '-'))
  await copyFile('/bin/busybox', join(directory, 'busybox'))
  await writeFile(
    join(directory, 'Dockerfile'),
    `FROM scratch\nCOPY busybox /bin/sh\nRUN ["/bin/sh", "-c", "while :; do sleep 1; done", "${step}"]\n`,
  )
  const args = ['local', '--own-containerd', '--root', join(directory, 'r'), '--listen', `unix://${socket}`]
  const local = spawn(program, args, { env, detached: true, stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  local.stderr.on('data', (text) => (said += String(text)))
  try {
    await until(`insitu local to be ready: ${said}`, () => said.includes('ready:'))
    const context = ['--local', `context=${directory}`, '--local', `dockerfile=${directory}`, '--progress', 'plain']
    const client = spawn(
      tool('buildctl'),
      ['--addr', `unix://${socket}`, 'build', '--frontend', 'dockerfile.v0', ...context],
      { env, stdio: ['ignore', 'ignore', 'pipe'] },
    )
    let progress = ''
    client.stderr.on('data', (text) => (progress += String(text)))
    await until('the RUN step to run', async () => {
      if (client.exitCode !== null) throw new Error(progress)
      return (await processesWith(step)).some((line) => line.startsWith('/bin/sh '))
    })
    // A terminal sends it to the whole group.
    process.kill(-(local.pid ?? Number.NaN), 'SIGINT')
    await until('insitu local to end', () => local.exitCode !== null || local.signalCode !== null)
    expect([local.exitCode, local.signalCode], said).toEqual([0, null])
    await until('the client to end', () => client.exitCode !== null)
    expect(await processesWith(directory)).toEqual([])
    expect(await processesWith(step)).toEqual([])
    expect(await readFile('/proc/self/mountinfo', 'utf8')).not.toContain(directory)
    expect((await readdir(join(directory, 'r', 'c'))).sort()).toEqual(['config.toml', 'root'])
  } finally {
    local.kill('SIGTERM')
    await until('insitu local to end', () => local.exitCode !== null || local.signalCode !== null)
    await rm(directory, { recursive: true, force: true })
  }
})

it('insitu local on a full disk says so instead of ready, and every build is refused with the reason', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'il-'))
  const [socket, root] = [join(directory, 'insitu.sock'), join(directory, 'r')]
  await mkdir(root)
  await writeFile(join(directory, 'Dockerfile'), 'FROM scratch\nCOPY Dockerfile /\n')
  // Less than what a build has to find free.
  await run('mount', ['-t', 'tmpfs', '-o', 'size=200m', 'insitu-test', root])
  const args = ['local', '--own-containerd', '--root', root, '--listen', `unix://${socket}`]
  const local = spawn(program, args, { env, stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  local.stderr.on('data', (text) => (said += String(text)))
  try {
    await until('insitu local to say that it does not build', () => said.includes('no builds until this is corrected'))
    expect(said).not.toContain('ready:')
    const context = ['--local', `context=${directory}`, '--local', `dockerfile=${directory}`, '--progress', 'plain']
    const build = ['--addr', `unix://${socket}`, 'build', '--frontend', 'dockerfile.v0', ...context]
    await expect(run(tool('buildctl'), build)).rejects.toThrow(
      /takes no builds now: DISK_FULL: .* has less than 256 MiB left/,
    )
  } finally {
    local.kill('SIGTERM')
    await until('insitu local to end', () => local.exitCode !== null || local.signalCode !== null)
    await run('umount', [root])
    await rm(directory, { recursive: true, force: true })
  }
})
