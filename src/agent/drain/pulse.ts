import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

export interface PulseOptions {
  /** Asks the daemon anything; rejects when it does not answer in time. */
  readonly ask: () => Promise<unknown>
  /** Whether the process is stopped (SIGSTOP, a debugger, a frozen cgroup). */
  readonly stopped: () => Promise<boolean>
  /** Milliseconds between two questions. */
  readonly interval: number
  /** So many questions without an answer in a row mean that it hangs; a stopped process is not asked twice. */
  readonly patience: number
  /** Ends the watch. */
  readonly signal: AbortSignal
  readonly pause?: (milliseconds: number, signal: AbortSignal) => Promise<unknown>
}

/**
 * Watches whether a daemon that runs still answers. Its clients cannot: what they see of one that hangs is a build that
 * is silent, which is nothing unusual, and it takes no PINGs.
 * @returns why it is held to hang; undefined when the watch ended before.
 */
export async function lostPulse(options: PulseOptions): Promise<string | undefined> {
  const { ask, stopped, interval, patience, signal } = options
  const pause =
    options.pause ?? ((time, abort) => sleep(time, undefined, { signal: abort, ref: false }).catch(() => undefined))
  for (let silent = 0; !signal.aborted;) {
    await pause(interval, signal)
    if (signal.aborted) return undefined
    const answered = await ask().then(
      () => true,
      () => false,
    )
    silent = answered ? 0 : silent + 1
    if (signal.aborted || answered) continue
    if (await stopped()) return 'buildkitd is stopped and answers nothing'
    if (silent >= patience) return `buildkitd has left ${silent} questions in a row unanswered`
  }
  return undefined
}

/** Process states: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html. T: stopped, t: by a debugger. */
export async function isStopped(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  return /^[Tt]$/.test(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[0] ?? '')
}
