import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { InsituError } from '../../src/kernel/errors.ts'
import { alive, track, type Tracked } from './processes.ts'
import { waitFor } from './wait.ts'

function holder(file: string): Tracked | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Tracked
  } catch {
    return undefined
  }
}

/**
 * One holder of a name at a time on a machine; waits for the other one. The lock of a dead process does not count.
 * `lab` is held by `up` and `down`, `base` while a
 * base image is made, `image` while our own is built.
 */
export async function withLock<T>(
  name: 'lab' | 'base' | 'image',
  work: () => Promise<T>,
  timeout = 600_000,
): Promise<T> {
  const file = `/run/insitu-${name}.lock`
  const me = JSON.stringify(track(process.pid))
  await waitFor(
    `another command that holds ${file}`,
    () => {
      try {
        writeFileSync(file, me, { flag: 'wx' })
        return true
      } catch (error) {
        if (!existsSync(file)) throw new InsituError('LAB_LOCK', `cannot write ${file}`, { cause: error })
        if (!alive(holder(file))) rmSync(file, { force: true })
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
