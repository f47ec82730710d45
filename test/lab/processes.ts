import { spawn } from 'node:child_process'
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { InsituError } from '../../src/kernel/errors.ts'
import { waitFor } from './wait.ts'

/** A process by number and start time (clock ticks since boot): a reused number is not taken for it. */
export interface Tracked {
  readonly pid: number
  readonly start: string
}

/** Fields of /proc/PID/stat after the command, which may contain anything; see proc_pid_stat(5). */
function stat(pid: number): { state: string; parent: number; start: string } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return { state: fields[0] ?? '', parent: Number(fields[1]), start: fields[19] ?? '' }
  } catch {
    return undefined
  }
}

export function track(pid: number): Tracked | undefined {
  const now = stat(pid)
  return now && now.state !== 'Z' ? { pid, start: now.start } : undefined
}

export function alive(process: Tracked | undefined): boolean {
  return process !== undefined && track(process.pid)?.start === process.start
}

const allPids = (): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)

export const childrenOf = (pid: number): number[] => allPids().filter((p) => stat(p)?.parent === pid)

/** Every process in the network namespace that is mounted at `path`; none if there is no such namespace. */
export function processesInNetns(path: string): number[] {
  let inode: number
  try {
    inode = statSync(path).ino
  } catch {
    return []
  }
  return allPids().filter((pid) => {
    try {
      return readlinkSync(`/proc/${pid}/ns/net`) === `net:[${inode}]`
    } catch {
      return false
    }
  })
}

/** Processes of a network namespace with exactly this command line: started by a run that was cut off before it noted them. */
export function strays(netns: string, command: readonly string[]): Tracked[] {
  const wanted = `${command.join('\0')}\0`
  return processesInNetns(netns).flatMap((pid) => {
    try {
      const found = readFileSync(`/proc/${pid}/cmdline`, 'utf8') === wanted ? track(pid) : undefined
      return found ? [found] : []
    } catch {
      return []
    }
  })
}

export interface StartOptions {
  readonly log: string
  readonly env?: Record<string, string>
}

/** Starts a program that outlives this one; its output goes to `log`, which is emptied first. */
export async function startDetached(file: string, args: readonly string[], options: StartOptions): Promise<Tracked> {
  const log = openSync(options.log, 'w', 0o644)
  try {
    const child = spawn(file, args, {
      detached: true,
      stdio: ['ignore', log, log],
      env: { ...process.env, ...options.env },
      cwd: '/',
    })
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve)
      child.once('error', reject)
    })
    child.unref()
    const tracked = child.pid === undefined ? undefined : track(child.pid)
    if (!tracked) throw new InsituError('LAB_PROCESS', `${file} ended at once: ${lastLines(options.log)}`)
    return tracked
  } finally {
    closeSync(log)
  }
}

/**
 * Runs a program to its end with all its output in `log`; for what says a lot and matters when it fails.
 * @throws InsituError COMMAND_FAILED with the log's last lines and its path.
 */
export async function runLogged(
  file: string,
  args: readonly string[],
  { log, timeout }: { log: string; timeout: number },
): Promise<void> {
  const out = openSync(log, 'w')
  try {
    const child = spawn(file, args, { stdio: ['ignore', out, out], timeout, killSignal: 'SIGKILL' })
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('close', resolve)
      child.once('error', reject)
    })
    if (code === 0) return
    const how = code === null ? `was stopped after ${timeout / 1000} s` : `failed with exit code ${code}`
    throw new InsituError('COMMAND_FAILED', `${file} ${how}: ${lastLines(log, 15)}`, { fix: `read ${log}` })
  } finally {
    closeSync(out)
  }
}

export function lastLines(log: string, count = 5): string {
  try {
    return readFileSync(log, 'utf8').trim().split('\n').slice(-count).join('\n')
  } catch {
    return ''
  }
}

/** SIGTERM, then SIGKILL after `grace` milliseconds; resolves when it is gone. Another process with its number is left alone. */
export async function stop(process: Tracked | undefined, grace = 3000): Promise<void> {
  if (!process || !alive(process)) return
  if (grace > 0) {
    signal(process, 'SIGTERM')
    const ended = await waitFor('it to end', () => (alive(process) ? undefined : true), {
      timeout: grace,
      interval: 30,
    }).catch(() => false)
    if (ended) return
  }
  signal(process, 'SIGKILL')
  await waitFor(`process ${process.pid} to end`, () => (alive(process) ? undefined : true), {
    timeout: 10_000,
    interval: 30,
  })
}

/**
 * Ends processes that need each other to end: the first process of a pid namespace is gone only when the others are
 * reaped, and an nsenter outside that is stopped does not reap.
 */
export async function killAll(processes: readonly (Tracked | undefined)[]): Promise<void> {
  for (const process of processes) if (process) signal(process, 'SIGKILL')
  for (const process of processes) await stop(process, 0)
}

export const parentOf = (process: Tracked): Tracked | undefined => track(stat(process.pid)?.parent ?? 0)

function signal(target: Tracked, name: NodeJS.Signals): void {
  try {
    if (alive(target)) process.kill(target.pid, name)
  } catch {
    // It ended in between.
  }
}
