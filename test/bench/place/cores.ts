import { readdirSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { run } from '../../../src/kernel/process/run.ts'

const last = availableParallelism() - 1

/** All processors, for a program and its arguments: the first of them is left to this process and what it has started. */
export const everywhere = ['taskset', '--cpu-list', `0-${last}`] as const

/**
 * This process and all that it has started, the API server among them, run on all processors but the last from now on: in
 * a cluster they are on other machines than a gateway and do not make it wait. Nothing changes where there is only one.
 */
export async function leaveOneProcessor(): Promise<void> {
  if (last === 0) return
  for (const pid of [process.pid, ...descendants(process.pid)]) {
    await run('taskset', ['--all-tasks', '--pid', '--cpu-list', `0-${last - 1}`, String(pid)])
  }
}

/** proc_pid_task(5) */
function descendants(pid: number): readonly number[] {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  )
  return [...children, ...children.flatMap(descendants)]
}
