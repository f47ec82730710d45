import { mkdtemp, readFile, rmdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { parseMountinfo } from '../../kernel/fs/mountinfo.ts'
import { run } from '../../kernel/process/run.ts'
import { isNoRoom } from './space.ts'

/** How much of a directory containerd sees as we do. */
export type Sharing =
  /** A mount made here appeared there. */
  | 'shared'
  /** Same directory, but mounts made here stay here. */
  | 'not-propagated'
  /** Another directory under the same path, or none. */
  | 'different'
  /** containerd's process cannot be looked at: the pod lacks hostPID. */
  | 'unproven'
  /** The disk is full. */
  | 'no-room'

/**
 * Looks at a directory from containerd's side, through /proc/PID/root and /proc/PID/mountinfo: these are the mounts
 * that a container started by it gets. Nothing is left behind.
 * @param pid containerd's process id as we see it; undefined when it cannot be seen.
 */
export async function provePropagation(directory: string, pid: number | undefined): Promise<Sharing> {
  if (pid === undefined) return 'unproven'
  let probe: string
  try {
    probe = await mkdtemp(join(directory, '.insitu-probe-'))
  } catch (error) {
    if (isNoRoom(error)) return 'no-room'
    throw error
  }
  try {
    if (!(await sameFile(probe, `/proc/${pid}/root${probe}`))) return 'different'
    await run('mount', ['-t', 'tmpfs', '-o', 'size=4k', 'insitu-probe', probe])
    try {
      const seen = parseMountinfo(await readFile(`/proc/${pid}/mountinfo`, 'utf8'))
      return seen.some((mount) => mount.mountPoint === probe && mount.source === 'insitu-probe')
        ? 'shared'
        : 'not-propagated'
    } finally {
      await run('umount', [probe])
    }
  } finally {
    await rmdir(probe)
  }
}

/** Whether a path is the same directory for containerd: `different` also when it has none there. */
export async function sameForContainerd(directory: string, pid: number | undefined): Promise<Sharing> {
  if (pid === undefined) return 'unproven'
  return (await sameFile(directory, `/proc/${pid}/root${directory}`)) ? 'shared' : 'different'
}

async function sameFile(a: string, b: string): Promise<boolean> {
  try {
    const [left, right] = await Promise.all([stat(a, { bigint: true }), stat(b, { bigint: true })])
    return left.dev === right.dev && left.ino === right.ino
  } catch {
    return false
  }
}
