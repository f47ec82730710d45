import { open, readdir, rename } from 'node:fs/promises'
import { join } from 'node:path'

/**
 * BuildKit's bolt databases below its root. cache.db and history.db heal themselves when they do not open; a broken
 * metadata_v2.db of a worker ends the daemon at every start (cache/metadata/metadata.go).
 */
export async function databaseFiles(root: string): Promise<string[]> {
  const entries = await readdir(root, { withFileTypes: true }).catch(() => [])
  const workers = entries.filter((entry) => entry.isDirectory() && entry.name.startsWith('containerd-'))
  return [
    ...workers.map((worker) => join(root, worker.name, 'metadata_v2.db')),
    join(root, 'cache.db'),
    join(root, 'history.db'),
  ]
}

const magic = 0xed0cdaed

/**
 * Whether a bolt file can be opened: one of its two meta pages must have the magic number, version 2 and a right
 * checksum (FNV-1a, 64 bit, over the 56 bytes of the meta before it). Layout: go.etcd.io/bbolt internal/common.
 * @param head the first two pages; an empty file is valid, since bolt fills it.
 */
export function isBolt(head: Uint8Array): boolean {
  if (head.length === 0) return true
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength)
  const metaAt = (page: number): boolean => {
    const meta = page + 16
    if (head.length < meta + 64 || view.getUint32(meta, true) !== magic || view.getUint32(meta + 4, true) !== 2)
      return false
    return fnv1a(head.subarray(meta, meta + 56)) === view.getBigUint64(meta + 56, true)
  }
  if (metaAt(0)) return true
  // Page sizes are those of the machines that wrote the file: the second meta page follows the first.
  return [4096, 8192, 16384, 65536].some(metaAt)
}

function fnv1a(bytes: Uint8Array): bigint {
  let hash = 0xcbf29ce484222325n
  for (const byte of bytes) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n)
  return hash
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
      const buffer = Buffer.alloc(65536 + 4096)
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0)
      return buffer.subarray(0, bytesRead)
    } finally {
      await handle.close()
    }
  } catch {
    return new Uint8Array()
  }
}
