import type { Transform } from 'node:stream'
import { promisify } from 'node:util'
import { constants, createZstdCompress, createZstdDecompress, zstdCompress } from 'node:zlib'
import type { ContentStore } from './content.ts'

const params = { [constants.ZSTD_c_compressionLevel]: 1 }

/** Level 1: on a slow link any core compresses faster than the link carries. */
export const compressor = (): Transform => createZstdCompress({ params, chunkSize: 256 << 10 })

export const decompressor = (): Transform => createZstdDecompress({ chunkSize: 256 << 10 })

const sample = 256 << 10

/** Tries it on a piece from the middle: encrypted, compressed and random layers stay as they are. */
export async function worthCompressing(store: ContentStore, digest: string, size: number): Promise<boolean> {
  if (size < sample) return false
  const start = Math.floor((size - sample) / 2)
  const chunks: Buffer[] = []
  for await (const chunk of store.stream(digest, start, start + sample - 1)) chunks.push(chunk as Buffer)
  const packed = await promisify(zstdCompress)(Buffer.concat(chunks), { params })
  return packed.length < sample * 0.8
}
