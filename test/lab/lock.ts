import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { InsituError } from '../../src/kernel/errors.ts'
import { alive, track, type Tracked } from './processes.ts'
import { waitFor } from './wait.ts'

const file = '/run/insitu-lab.lock'

function holder(): Tracked | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Tracked
  } catch {
    return undefined
  }
}

/** One `up` or `down` at a time on a machine; waits for the other one. The lock of a dead process does not count. */
export async function withLock<T>(work: () => Promise<T>, timeout = 300_000): Promise<T> {
  const me = JSON.stringify(track(process.pid))
  await waitFor(
    'another lab command to end',
    () => {
      try {
        writeFileSync(file, me, { flag: 'wx' })
        return true
      } catch (error) {
        if (!existsSync(file)) throw new InsituError('LAB_LOCK', `cannot write ${file}`, { cause: error })
        if (!alive(holder())) rmSync(file, { force: true })
        return undefined
      }
    },
    { timeout },
  )
  try {
    return await work()
  } finally {
    rmSync(file, { force: true })
  }
}
