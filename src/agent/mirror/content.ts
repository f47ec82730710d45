import { createReadStream } from 'node:fs'
import { type FileHandle, open, readFile, stat } from 'node:fs/promises'
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
  /**
   * The same in pieces, in memory that is used again: a piece is valid until the next but one is asked for. New memory for
   * each piece is a third of what sending it costs.
   */
  pieces(digest: string, start: number, end: number): AsyncGenerator<Buffer>
}

const pieceSize = 256 << 10

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
    stream: (digest, start, end) => createReadStream(file(digest), { start, end, highWaterMark: pieceSize }),
    async *pieces(digest, start, end) {
      const handle = await open(file(digest))
      try {
        yield* readPieces(handle, start, end)
      } finally {
        await handle.close()
      }
    },
  }
}

async function* readPieces(handle: FileHandle, start: number, end: number): AsyncGenerator<Buffer> {
  const size = Math.min(pieceSize, end - start + 1)
  const buffers = [Buffer.allocUnsafeSlow(size), Buffer.allocUnsafeSlow(size)] as const
  let at = start
  for (let turn = 0; at <= end; turn += 1) {
    const buffer = buffers[turn % 2 === 0 ? 0 : 1]
    const { bytesRead } = await handle.read(buffer, 0, Math.min(size, end - at + 1), at)
    if (bytesRead === 0) throw new Error('a blob is shorter than it was')
    at += bytesRead
    yield buffer.subarray(0, bytesRead)
  }
}
