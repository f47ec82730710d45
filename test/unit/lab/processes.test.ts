import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { alive, lastLines, runLogged, startDetached, stop, track } from '../../lab/processes.ts'
import { waitFor } from '../../lab/wait.ts'

let dir = ''
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'insitu-lab-'))
})
afterAll(() => rm(dir, { recursive: true }))

describe('processes of the lab', () => {
  it('are known by number and start time: a reused number is somebody else', async () => {
    const sleeper = await startDetached('sleep', ['60'], { log: join(dir, 'sleep.log') })
    expect(alive(sleeper)).toBe(true)
    const reused = { ...sleeper, start: '1' }
    expect(alive(reused)).toBe(false)
    await stop(reused)
    expect(track(sleeper.pid)).toEqual(sleeper)
    await stop(sleeper)
    expect(alive(sleeper)).toBe(false)
  })

  it('end by force when they do not end by asking', async () => {
    // An ignored signal stays ignored in the program that takes the shell's place.
    const stubborn = await startDetached('sh', ['-c', 'trap "" TERM; exec sleep 60'], {
      log: join(dir, 'stubborn.log'),
    })
    await waitFor(
      'sleep',
      async () => (await readFile(`/proc/${stubborn.pid}/comm`, 'utf8')) === 'sleep\n' || undefined,
      {
        timeout: 5000,
        interval: 5,
      },
    )
    await stop(stubborn, 100)
    expect(alive(stubborn)).toBe(false)
  })

  it('say how they failed, with the end of their log', async () => {
    const log = join(dir, 'failed.log')
    await expect(runLogged('sh', ['-c', 'echo reason; exit 3'], { log, timeout: 5000 })).rejects.toThrow(
      /exit code 3: reason/,
    )
    expect(lastLines(log)).toBe('reason')
  })
})
