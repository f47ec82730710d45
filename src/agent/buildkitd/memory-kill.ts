import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

type Read = (path: string) => Promise<string>

const readText: Read = (path) => readFile(path, 'utf8')

/**
 * How many processes the kernel has killed for memory in this process's cgroup so far; undefined when no counter is
 * there. cgroup v2: `oom_kill` of memory.events; v1: of memory.oom_control (kernel 4.13+).
 * In a container the cgroup filesystem is mounted at the container's own cgroup, so the root of it is tried as well.
 */
export async function memoryKills(read: Read = readText): Promise<number | undefined> {
  const membership = await read('/proc/self/cgroup').catch(() => '')
  for (const file of counters(membership)) {
    const text = await read(file).catch(() => '')
    const match = /^oom_kill (\d+)$/m.exec(text)
    if (match) return Number(match[1])
  }
  return undefined
}

/** The files that may hold the counter, most exact first. Lines of /proc/PID/cgroup: `ID:CONTROLLERS:PATH`. */
export function counters(membership: string): string[] {
  return membership.split('\n').flatMap((line) => {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? []
    if (path === undefined || controllers === undefined) return []
    const at = controllers === '' ? '/sys/fs/cgroup' : '/sys/fs/cgroup/memory'
    if (controllers !== '' && !controllers.split(',').includes('memory')) return []
    const file = controllers === '' ? 'memory.events' : 'memory.oom_control'
    return [join(at, path, file), join(at, file)]
  })
}
