import { constants } from 'node:fs'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

const binfmt = '/proc/sys/fs/binfmt_misc'

/**
 * Takes out the emulators' handlers of a node that has ended by force: a node with a kernel of its own would have lost them
 * with it. Where neither the machine nor a node that goes on has them mounted, they ended with their last mount.
 * @param pids of processes that may see them: the other nodes' first ones
 */
export async function removeHandlers(node: string, pids: readonly number[]): Promise<void> {
  for (const root of ['', ...pids.map((pid) => `/proc/${pid}/root`)]) {
    const directory = `${root}${binfmt}`
    const names = await readdir(directory).catch(() => [])
    for (const name of names.filter((one) => one.startsWith('insitu-') && one.endsWith(`@${node}`))) {
      // An agent that still ends may have been faster.
      await writeFile(join(directory, name), '-1', { flag: constants.O_WRONLY }).catch(
        (error: NodeJS.ErrnoException) => {
          if (error.code !== 'ENOENT') throw error
        },
      )
    }
  }
}
