import { readdirSync, readFileSync } from 'node:fs'

/** Milliseconds of a kernel tick, as /proc counts processor time on Linux. */
const tick = 10

export interface Usage {
  /** Milliseconds of processor time since the start. */
  readonly cpu: number
  /** Resident bytes. */
  readonly resident: number
}

/** What a process and all its descendants use. See proc_pid_stat(5). */
export function usageOf(pid: number): Usage {
  const parents = new Map<number, number>()
  const stats = new Map<number, Usage>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      parents.set(Number(name), Number(fields[1]))
      const cpu = (Number(fields[11]) + Number(fields[12])) * tick
      const resident = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${name}/status`, 'utf8'))?.[1]
      stats.set(Number(name), { cpu, resident: Number(resident ?? 0) * 1024 })
    } catch {
      // It ended while we looked.
    }
  }
  const belongs = (one: number | undefined): boolean => {
    for (let at = one; at !== undefined && at > 1; at = parents.get(at)) if (at === pid) return true
    return false
  }
  let cpu = 0
  let resident = 0
  for (const [one, usage] of stats) {
    if (!belongs(one)) continue
    cpu += usage.cpu
    resident += usage.resident
  }
  return { cpu, resident }
}

interface Processes {
  readonly pid: number | undefined
  readonly also?: number | undefined
}

const of = ({ pid, also }: Processes): readonly Usage[] =>
  [pid, also].filter((one) => one !== undefined).map((one) => usageOf(one))

/** Milliseconds of processor time of all processes of a door; 0 where there is none. */
export const processorOf = (door: Processes): number => of(door).reduce((sum, { cpu }) => sum + cpu, 0)

/** Resident bytes of all processes of a door. */
export const residentOf = (door: Processes): number => of(door).reduce((sum, { resident }) => sum + resident, 0)
