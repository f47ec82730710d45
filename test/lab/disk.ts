import { mkdir, readdir, readFile, realpath, rm, stat, statfs, truncate, writeFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { describeError } from '../../src/kernel/errors.ts'
import { run } from '../../src/kernel/process/run.ts'
import { diskFile, stateDir } from './layout.ts'
import type { Progress } from './progress.ts'
import { waitFor } from './wait.ts'

/**
 * Puts everything of a new lab on a disk of its own, a file, where the machine's is ext4 without a journal: for each new
 * file that ext4 looks at every inode of the group that was deleted within the last minute, and the more a lab has just
 * removed the longer all its containerds take (`recently_deleted` in the kernel's fs/ext4/ialloc.c). No cluster's node
 * has such a disk. A lab that is there stays where it is.
 */
export async function ensureDisk(progress: Progress): Promise<void> {
  await mkdir(stateDir, { recursive: true, mode: 0o700 })
  if ((await readdir(stateDir)).length > 0 || !(await lacksJournal(stateDir))) return
  try {
    const { bavail, bsize } = await statfs(stateDir)
    await writeFile(diskFile, '', { mode: 0o600 })
    // It takes what is written, and gives back what is removed: not so much that the machine's own disk is full first.
    await truncate(diskFile, Math.floor((bavail * bsize * 0.8) / 4096) * 4096)
    await run('mkfs.ext4', ['-q', '-m', '0', diskFile])
    await run('mount', ['-o', 'loop,discard', diskFile, stateDir])
    await rm(`${stateDir}/lost+found`, { recursive: true })
    progress.step('a disk with a journal, which the machine has not')
  } catch (error) {
    await removeDisk()
    progress.step(`no disk with a journal, and the machine has none: all is slower (${describeError(error)})`)
  }
}

/** Takes the disk away, with all that is on it; nothing uses it any more. */
export async function removeDisk(): Promise<void> {
  const mounts = await readFile('/proc/self/mounts', 'utf8')
  if (mounts.split('\n').some((line) => line.split(' ')[1] === stateDir)) {
    // What ended a moment ago may still hold it.
    await waitFor(`${stateDir} to be unmounted`, async () => (await run('umount', [stateDir]), true), {
      timeout: 10_000,
    })
  }
  await rm(diskFile, { force: true })
}

/** Whether a folder is on ext4 that has no journal. /sys/fs/ext4/DEVICE/journal_task: fs/ext4/sysfs.c of the kernel. */
async function lacksJournal(folder: string): Promise<boolean> {
  const { dev } = await stat(folder)
  // Numbers of devices as makedev(3) puts them together, for those of 8 and 12 bits that disks have.
  const device = await realpath(`/sys/dev/block/${(dev >> 8) & 0xfff}:${dev & 0xff}`).catch(() => '')
  const task = await readFile(`/sys/fs/ext4/${basename(device)}/journal_task`, 'utf8').catch(() => '')
  return task.trim() === '<none>'
}
