import { lstat, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { parseMountinfo } from '../../kernel/fs/mountinfo.ts'
import { isTemporary } from '../buildkitd/sweep.ts'
import type { Amount } from './reach.ts'

export interface TemporaryEntry extends Amount {
  readonly path: string
  /** Nothing is mounted at or below it, and it is old. */
  readonly stale: boolean
}

/** A running build may have made it a moment before it uses it. Milliseconds. */
const youth = 10 * 60_000
/** So long a database that was set aside stays for somebody to look at. */
const curiosity = 7 * 24 * 60 * 60_000

/**
 * What builds and daemons left in the temporary directory and the root, by BuildKit's names, and databases that were
 * set aside.
 * @param now milliseconds since 1970.
 */
export async function temporaryEntries(
  place: { readonly root: string; readonly tmpdir: string },
  now: number,
): Promise<TemporaryEntry[]> {
  const mounts = parseMountinfo(await readFile('/proc/self/mountinfo', 'utf8')).map((mount) => mount.mountPoint)
  const found: TemporaryEntry[] = []
  const look = async (directory: string, own: (name: string) => boolean, age: number): Promise<void> => {
    for (const name of (await readdir(directory).catch(() => [])).filter(own)) {
      const path = join(directory, name)
      const mounted = mounts.some((point) => point === path || point.startsWith(`${path}/`))
      const { mtimeMs } = await lstat(path).catch(() => ({ mtimeMs: now }))
      // Files behind a mount are not ours to count.
      const size = mounted ? { bytes: 0, inodes: 0 } : await sizeOf(path)
      found.push({ path, ...size, stale: !mounted && mtimeMs <= now - age })
    }
  }
  for (const directory of new Set([place.tmpdir, place.root])) await look(directory, isTemporary, youth)
  const aside = (name: string): boolean => /\.db\.broken-[0-9TZ]+$/.test(name)
  await look(place.root, aside, curiosity)
  for (const name of await readdir(place.root).catch(() => [])) {
    if (name.startsWith('containerd-')) await look(join(place.root, name), aside, curiosity)
  }
  return found
}

export const removeTemporary = (path: string): Promise<void> => rm(path, { recursive: true, force: true })

/** Allocated bytes and inodes of a tree; what vanishes meanwhile counts nothing. Links are not followed. */
async function sizeOf(path: string): Promise<Amount> {
  const stat = await lstat(path).catch(() => undefined)
  if (!stat) return { bytes: 0, inodes: 0 }
  const total = { bytes: stat.blocks * 512, inodes: 1 }
  if (!stat.isDirectory()) return total
  for (const name of await readdir(path).catch(() => [])) {
    const { bytes, inodes } = await sizeOf(join(path, name))
    total.bytes += bytes
    total.inodes += inodes
  }
  return total
}
