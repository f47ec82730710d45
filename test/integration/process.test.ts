import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { start } from '../../src/kernel/process/start.ts'
import { until } from './fixtures/until.ts'

it('a program that is told to stop has all of its grace before it is killed', async () => {
  let up = false
  const child = await start('sh', ['-c', 'trap "" TERM; echo up; while :; do sleep 0.1; done'], {
    env: { PATH: process.env['PATH'] ?? '' },
    onLine: () => (up = true),
  })
  await until('the program to run', () => up)
  const before = performance.now()
  expect(await child.stop(6500)).toMatchObject({ signal: 'SIGKILL', requested: true })
  expect(performance.now() - before).toBeGreaterThanOrEqual(6450)
})

const termination = fileURLToPath(new URL('../../src/kernel/process/termination.ts', import.meta.url))

it.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)('%s lets a program put things back', async (name) => {
  const script = `
    const { terminationSignal } = await import(${JSON.stringify(termination)})
    const signal = terminationSignal()
    const alive = setInterval(() => undefined, 1000)
    signal.addEventListener('abort', () => { clearInterval(alive); console.log('put back') })
    console.log('up')`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script])
  let said = ''
  child.stdout.on('data', (text) => (said += String(text)))
  await until('the program to run', () => said.includes('up'))
  child.kill(name)
  await until('the program to end', () => child.exitCode !== null || child.signalCode !== null)
  expect([child.exitCode, said]).toEqual([0, 'up\nput back\n'])
})
