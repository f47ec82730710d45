import { open, readdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { headSize, isBolt } from './bolt.ts'

/**
 * BuildKit's bolt databases below its root. cache.db and history.db heal themselves when they do not open; a broken
 * metadata_v2.db of a worker ends the daemon at every start (cache/metadata/metadata.go).
 */
export async function databaseFiles(root: string): Promise<string[]> {
  const entries = await readdir(root, { withFileTypes: true }).catch(() => [])
  const workers = entries.filter((entry) => entry.isDirectory() && /^(containerd|runc)-/.test(entry.name))
  return [
    ...workers.map((worker) => join(root, worker.name, 'metadata_v2.db')),
    join(root, 'cache.db'),
    join(root, 'history.db'),
  ]
}

/** Words of bolt and of Go's memory faults inside it, in the daemon's last lines. */
const symptoms =
  /bbolt|boltdb|go\.etcd\.io|invalid database|checksum error|version mismatch|file size too small|freelist|unexpected fault address|metadata_v2\.db|cache\.db/i

/** Whether the last words of a daemon point at a database. */
export const blamesDatabase = (lastLines: readonly string[]): boolean => lastLines.some((line) => symptoms.test(line))

/**
 * Renames broken databases to `NAME.broken-TIME`, so that the next start makes new ones: the build cache is lost,
 * images are not.
 * @param all true: the daemon blames a database and none is visibly damaged, so every one goes.
 * @returns the paths that were moved.
 */
export async function setAside(root: string, all: boolean, now: Date): Promise<string[]> {
  const suffix = `.broken-${now.toISOString().replace(/[:.]/g, '')}`
  const files = await databaseFiles(root)
  const damaged: string[] = []
  for (const file of files) if (!isBolt(await head(file))) damaged.push(file)
  const moved: string[] = []
  for (const file of damaged.length > 0 ? damaged : all ? files : []) {
    try {
      await rename(file, file + suffix)
      moved.push(file)
    } catch {
      // It is not there: nothing to move.
    }
  }
  return moved
}

async function head(file: string): Promise<Uint8Array> {
  try {
    const handle = await open(file, 'r')
    try {
      const buffer = Buffer.alloc(headSize)
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0)
      return buffer.subarray(0, bytesRead)
    } finally {
      await handle.close()
    }
  } catch {
    return new Uint8Array()
  }
}
