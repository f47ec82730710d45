import { readdir, readlink } from 'node:fs/promises'
import { join } from 'node:path'

/**
 * Runs a program as root of a user namespace, with all the users that /etc/subuid gives to this one, and with mounts of
 * its own. util-linux asks uidmap's newuidmap for the users. Without `--fork` the program keeps its process id.
 */
export const inUserNamespace = (program: string, args: readonly string[]): readonly [string, readonly string[]] => [
  'unshare',
  ['--user', '--map-root-user', '--map-auto', '--mount', '--propagation', 'slave', '--', program, ...args],
]

/**
 * Kills what a daemon has left: its RUN steps share this pod's processes and would go on for nobody. They are told by
 * their user namespace, of which this user is the owner and so may signal them. Only while no daemon runs.
 * @returns the ids of the processes.
 */
export async function endLeftovers(
  processes = '/proc',
  kill: (pid: number) => void = (pid) => void process.kill(pid, 'SIGKILL'),
): Promise<number[]> {
  const namespaceOf = (pid: string): Promise<string | undefined> =>
    readlink(join(processes, pid, 'ns/user')).catch(() => undefined)
  const own = await namespaceOf('self')
  const ended: number[] = []
  for (const pid of (await readdir(processes)).filter((name) => /^\d+$/.test(name))) {
    const namespace = await namespaceOf(pid)
    // The pod's pause container does not let itself be looked at: it is somebody else's.
    if (own === undefined || namespace === undefined || namespace === own) continue
    try {
      kill(Number(pid))
      ended.push(Number(pid))
    } catch {
      // It ended by itself.
    }
  }
  return ended
}
