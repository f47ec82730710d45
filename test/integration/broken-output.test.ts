import { spawn } from 'node:child_process'
import { openSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { expect, it } from 'vitest'
import { processEnv } from '../../src/kernel/config/env.ts'

const root = join(import.meta.dirname, '../..')
const env = { PATH: processEnv()['PATH'] ?? '' }

/** What a command of a shell says on standard error, and its exit code. */
async function shell(command: string): Promise<{ code: number | null; said: string }> {
  const child = spawn('bash', ['-c', command], { cwd: root, env, stdio: ['ignore', 'ignore', 'pipe'] })
  const exited = new Promise<number | null>((resolve) => child.on('close', resolve))
  return { said: await text(child.stderr), code: await exited }
}

it.each(['install --print', 'completion bash', 'install --help'])(
  'insitu %s ends quietly when nobody reads on, with the exit code that a shell gives a program ended by SIGPIPE',
  async (command) => {
    // The pipe is closed before the first write.
    const { code, said } = await shell(`{ sleep 0.1; bin/insitu ${command}; exit $?; } | true; exit \${PIPESTATUS[0]}`)
    expect({ code, said }).toEqual({ code: 141, said: '' })
  },
)

it('a full disk is one line, and exit code 1', async () => {
  const { code, said } = await shell('bin/insitu install --print > /dev/full')
  expect(said).toMatch(/^insitu: standard output cannot be written: ENOSPC.*\n$/)
  expect(code).toBe(1)
})

it('standard error that cannot be written does not hide how the command ended', async () => {
  const child = spawn(join(root, 'bin/insitu'), ['install', '--replicas', '0', '--print'], {
    env,
    stdio: ['ignore', 'ignore', openSync('/dev/full', 'w')],
  })
  expect(await new Promise((resolve) => child.on('close', resolve))).toBe(2)
})

const brokenOutput = join(root, 'src/cli/broken-output.ts')
const termination = join(root, 'src/kernel/process/termination.ts')

it('a program that has to put things back does that first', async () => {
  const script = `
    const { endWhenOutputBreaks } = await import(${JSON.stringify(brokenOutput)})
    const { aborted, terminationSignal } = await import(${JSON.stringify(termination)})
    endWhenOutputBreaks()
    const signal = terminationSignal()
    const writing = setInterval(() => console.log('line'), 10)
    await aborted(signal)
    console.log('one more that nobody reads')
    clearInterval(writing)
    console.error('put back')`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  child.stdout.once('data', () => child.stdout.destroy())
  const exited = new Promise<number | null>((resolve) => child.on('close', resolve))
  expect(await text(child.stderr)).toBe('put back\n')
  expect(await exited).toBe(141)
})
