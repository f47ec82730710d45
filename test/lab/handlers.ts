import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

const directory = '/proc/sys/fs/binfmt_misc'

/** Takes out the emulators' handlers of a node: the machine's kernel keeps them when the node ends by force. */
export async function removeHandlers(node: string): Promise<void> {
  const names = await readdir(directory).catch(() => [])
  for (const name of names.filter((one) => one.startsWith('insitu-') && one.endsWith(`@${node}`))) {
    await writeFile(join(directory, name), '-1')
  }
}
