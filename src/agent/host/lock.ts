import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { InsituError } from '../../kernel/errors.ts'
import { start } from '../../kernel/process/start.ts'
import { isNoRoom } from './space.ts'

export interface LockOptions {
  /** Files to lock, all or none; made when missing. */
  readonly files: readonly string[]
  /** Who holds it, for the message that others get: one line. */
  readonly holder: string
  readonly env: Readonly<Record<string, string>>
  /** Milliseconds until the holder is written again where the disk was full. Default 10,000. */
  readonly again?: number
}

export interface Lock {
  /** Settles when the locks are gone without having been released: somebody killed the process that holds them. */
  readonly lost: Promise<void>
  release(): Promise<void>
}

const conflict = 75

/**
 * Takes exclusive locks that the kernel gives back whatever happens to this process. Node has no flock(2), so a chain
 * of util-linux's flock (which executes the next program in its place) ends in a `cat` that holds the
 * locks and ends with our end of its pipe. Locks belong to inodes, which pods and mount namespaces share.
 * @throws InsituError LOCKED with the holder; LOCK_FAILED; COMMAND_MISSING without the flock program.
 */
export async function takeLock(options: LockOptions): Promise<Lock> {
  for (const file of options.files) await mkdir(dirname(file), { recursive: true })
  const chain = options.files.flatMap((file) => ['flock', '--no-fork', '-n', '-E', String(conflict), file])
  const held = Promise.withResolvers<undefined>()
  const child = await start('flock', [...chain.slice(1), 'cat'], {
    env: options.env,
    pipe: true,
    onLine: (line) => line === 'held' && held.resolve(undefined),
  })
  child.stdin?.on('error', () => undefined)
  // Only a cat that runs, and so one that holds the locks, sends this back.
  child.stdin?.write('held\n')
  const exit = await Promise.race([child.exited, held.promise])
  if (exit) {
    if (exit.code === conflict) throw await locked(options.files)
    throw new InsituError('LOCK_FAILED', `${options.files.join(', ')} cannot be locked (exit code ${exit.code})`)
  }
  if (!(await holds(child.pid, options.files))) {
    await child.stop(2000)
    throw await locked(options.files)
  }
  let unnamed: NodeJS.Timeout | undefined
  const name = async (): Promise<void> => {
    try {
      await Promise.all(options.files.map((file) => writeFile(file, `${options.holder}\n`)))
    } catch (error) {
      // A full disk is freed by who holds the lock; the text is for others.
      if (!isNoRoom(error)) throw error
      unnamed = setTimeout(() => void name().catch(() => undefined), options.again ?? 10_000).unref()
    }
  }
  try {
    await name()
  } catch (error) {
    await child.stop(2000)
    throw error
  }
  // A release never settles it.
  const lost = child.exited.then((end) => (end.requested ? new Promise<void>(() => undefined) : undefined))
  return {
    lost,
    release: async () => {
      clearTimeout(unnamed)
      // While they are still held: nobody can have locked the same inodes then.
      await Promise.all(options.files.map((file) => rm(file, { force: true })))
      await child.stop(2000)
    },
  }
}

async function locked(files: readonly string[]): Promise<InsituError> {
  const holders = await Promise.all(files.map((file) => readFile(file, 'utf8').catch(() => '')))
  const holder = holders.find((text) => text.trim() !== '')?.trim() ?? 'another agent'
  return new InsituError('LOCKED', `another agent (${holder}) uses this root or containerd namespace`, {
    fix: 'stop it: two daemons on one root or namespace destroy each other’s builds',
  })
}

/** Whether the files are still the ones that a process has open: a releasing holder removes them. */
async function holds(pid: number, files: readonly string[]): Promise<boolean> {
  const identity = async (path: string): Promise<string> => {
    const { dev, ino } = await stat(path, { bigint: true })
    return `${dev}:${ino}`
  }
  try {
    const descriptors = await readdir(`/proc/${pid}/fd`)
    const open = new Set(await Promise.all(descriptors.map((fd) => identity(`/proc/${pid}/fd/${fd}`).catch(() => ''))))
    return (await Promise.all(files.map(identity))).every((file) => open.has(file))
  } catch {
    return false
  }
}
