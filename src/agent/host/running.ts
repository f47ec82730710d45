import { readdir, readFile } from 'node:fs/promises'

export interface RunningAgent {
  readonly pid: number
  /** Its daemons. */
  readonly children: ReadonlySet<number>
}

/** The agent that holds the lock of a root, as far as this process's pid namespace shows it. */
export async function runningAgent(root: string): Promise<RunningAgent | undefined> {
  const pid = holderPid(await readFile(`${root}/insitu.lock`, 'utf8').catch(() => ''))
  if (pid === undefined) return undefined
  const children = new Set<number>()
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    if (parentOf(await readFile(`/proc/${entry}/stat`, 'utf8').catch(() => '')) === pid) children.add(Number(entry))
  }
  // An agent that was killed leaves its file behind, without the processes that held the lock.
  return children.size === 0 ? undefined : { pid, children }
}

/** The process id in what an agent writes into its lock. */
export function holderPid(text: string): number | undefined {
  const match = /process (\d+)\n?$/.exec(text)
  return match ? Number(match[1]) : undefined
}

/** The fourth field of /proc/PID/stat; the second one, a name in brackets, may hold anything. */
export function parentOf(stat: string): number | undefined {
  const match = /\) \S (\d+) /.exec(stat.slice(stat.lastIndexOf(')')))
  return match ? Number(match[1]) : undefined
}
