import { constants } from 'node:fs'
import { type FileHandle, lstat, open } from 'node:fs/promises'
import { join } from 'node:path'
import { withoutLinks } from './host-path.ts'

// Files that other processes name, below the root that they see: /proc/PID/root. Who runs them may have put anything
// there: links that lead out, pipes of which nothing comes, devices that do something when they are opened.

/** Of configuration. */
const longest = 1 << 20
/** open(2): says what a file is without opening it. The same number on all architectures that Node runs on. */
const pathOnly = 0o10000000

/** The text of a regular file of at most a megabyte; undefined where there is none. */
export async function readForeign(root: string, path: string): Promise<string | undefined> {
  let found: FileHandle | undefined
  let file: FileHandle | undefined
  try {
    found = await open(await seen(root, path), pathOnly | constants.O_NOFOLLOW)
    if (!(await found.stat()).isFile()) return undefined
    file = await open(`/proc/self/fd/${found.fd}`, constants.O_RDONLY | constants.O_NONBLOCK)
    return await readAll(file)
  } catch {
    return undefined
  } finally {
    await found?.close()
    await file?.close()
  }
}

/** What tells a file from all others on this machine; undefined where there is none. */
export async function foreignIdentity(root: string, path: string): Promise<string | undefined> {
  try {
    const { dev, ino } = await lstat(await seen(root, path), { bigint: true })
    return `${dev}:${ino}`
  } catch {
    return undefined
  }
}

const seen = async (root: string, path: string): Promise<string> => {
  const onHost = (at: string): string => join(root, at)
  return onHost(await withoutLinks(path, onHost))
}

/** Sizes that the kernel tells are those of the moment, and 0 for files that it makes up. */
async function readAll(file: FileHandle): Promise<string | undefined> {
  const chunks: Buffer[] = []
  for (let length = 0; ;) {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(1 << 16))
    if (bytesRead === 0) return Buffer.concat(chunks).toString('utf8')
    length += bytesRead
    if (length > longest) return undefined
    chunks.push(buffer.subarray(0, bytesRead))
  }
}
