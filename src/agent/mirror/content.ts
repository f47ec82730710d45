import { createReadStream } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'

/** containerd's content store, read as files: its root is mounted at the same path, and blobs never change. */
export interface ContentStore {
  /** Bytes, or undefined when the blob is not (completely) here. */
  size(digest: string): Promise<number | undefined>
  /** The whole of a small blob. @throws when it is not here or has more than `maxManifest` bytes. */
  read(digest: string): Promise<Buffer>
  /** Bytes from `start` to `end`, both included. */
  stream(digest: string, start: number, end: number): Readable
}

/** containerd takes no larger manifests either (`MaxManifestSize`). */
export const maxManifest = 8 << 20

/** @param root containerd's root directory. Layout: containerd's plugins/content/local. */
export function contentStore(root: string): ContentStore {
  const file = (digest: string): string => {
    const [algorithm = '', encoded = ''] = digest.split(':')
    return join(root, 'io.containerd.content.v1.content/blobs', algorithm, encoded)
  }
  const size = async (digest: string): Promise<number | undefined> => {
    const found = await stat(file(digest)).catch(() => undefined)
    return found?.isFile() ? found.size : undefined
  }
  return {
    size,
    async read(digest) {
      const bytes = await size(digest)
      if (bytes === undefined || bytes > maxManifest) throw new Error(`${digest} is not a manifest of this node`)
      return readFile(file(digest))
    },
    stream: (digest, start, end) => createReadStream(file(digest), { start, end, highWaterMark: 256 << 10 }),
  }
}
