import { constants } from 'node:fs'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** The kernel's handlers as processes with this root see them, if they do. */
export const binfmtOf = (root: string): string => `${root}/proc/sys/fs/binfmt_misc`

/** Takes a handler out. One that is not there, or not to be seen from that root, is fine. */
export async function takeOut(name: string, root: string): Promise<void> {
  const flag = constants.O_WRONLY
  await writeFile(join(binfmtOf(root), name), '-1', { flag }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
  })
}

/**
 * Takes out the emulators' handlers of a node that has ended by force: a node with a kernel of its own would have lost them
 * with it. Where neither the machine nor a node that goes on has them mounted, they ended with their last mount.
 * @param pids of processes that may see them: the other nodes' first ones
 */
export async function removeHandlers(node: string, pids: readonly number[]): Promise<void> {
  for (const root of ['', ...pids.map((pid) => `/proc/${pid}/root`)]) {
    const names = await readdir(binfmtOf(root)).catch(() => [])
    // An agent that still ends may be faster.
    for (const name of names.filter((one) => one.startsWith('insitu-') && one.endsWith(`@${node}`))) {
      await takeOut(name, root)
    }
  }
}
