import { constants, existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describeError, InsituError } from '../../kernel/errors.ts'
import { readOptional } from '../../kernel/fs/read-optional.ts'
import { run } from '../../kernel/process/run.ts'
import { type Entry, type Handler, parseEntry, registration } from './entry.ts'

/** Where a system has the handlers, usually. */
const usual = '/proc/sys/fs/binfmt_misc'

/** The kernel's handlers, as this process sees them. */
export interface BinfmtKernel {
  /** False where an administrator has switched all of them off. */
  enabled(): Promise<boolean>
  entries(): Promise<Entry[]>
  /** @throws InsituError BINFMT_REGISTER */
  register(handler: Handler): Promise<void>
  /** One that is gone already is fine. */
  remove(name: string): Promise<void>
  /** Unmounts what `openKernel` mounted. From Linux 6.7 on handlers end with the last mount. */
  close(): Promise<void>
}

const ownMount = (runDirectory: string): string => join(runDirectory, 'binfmt_misc')

/** Where binfmt_misc is mounted for this process, also by an agent with that run directory. */
export const mountedAt = (runDirectory: string): string | undefined =>
  [usual, ownMount(runDirectory)].find((directory) => existsSync(join(directory, 'register')))

/**
 * Opens binfmt_misc where it is mounted, else mounts it below the run directory: in a pod nobody else sees that.
 * @throws InsituError BINFMT_MISSING when the kernel has none
 */
export async function openKernel(runDirectory: string, directory = usual): Promise<BinfmtKernel> {
  if (existsSync(join(directory, 'register'))) return kernelAt(directory, async () => {})
  const own = ownMount(runDirectory)
  if (!existsSync(join(own, 'register'))) {
    await mkdir(own, { recursive: true })
    // The kernel loads the module by itself, where there is one.
    await run('mount', ['-t', 'binfmt_misc', 'binfmt_misc', own]).catch(async (error: unknown) => {
      await rmdir(own)
      throw new InsituError('BINFMT_MISSING', `the kernel’s binfmt_misc cannot be mounted: ${describeError(error)}`, {
        fix: 'load the module binfmt_misc on the node (modprobe binfmt_misc), and see that it is loaded at every start',
      })
    })
  }
  return kernelAt(own, async () => {
    await run('umount', [own])
    await rmdir(own)
  })
}

function kernelAt(directory: string, close: () => Promise<void>): BinfmtKernel {
  const remove = async (name: string): Promise<void> => {
    try {
      await writeFile(join(directory, name), '-1', { flag: constants.O_WRONLY })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }
  return {
    enabled: async () => (await readFile(join(directory, 'status'), 'utf8')).trim() === 'enabled',
    async entries() {
      const names = (await readdir(directory)).filter((name) => name !== 'register' && name !== 'status')
      const found = await Promise.all(
        names.map(async (name) => parseEntry(name, (await readOptional(join(directory, name))) ?? '')),
      )
      return found.filter((entry) => entry !== undefined)
    },
    async register(handler) {
      try {
        await writeFile(join(directory, 'register'), registration(handler), { flag: constants.O_WRONLY })
      } catch (error) {
        throw new InsituError('BINFMT_REGISTER', `the kernel does not take the handler ${handler.name}`, {
          cause: error,
        })
      }
    },
    remove,
    close,
  }
}
