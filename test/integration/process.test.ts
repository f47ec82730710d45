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
