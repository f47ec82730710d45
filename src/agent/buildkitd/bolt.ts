import { type FileHandle, open } from 'node:fs/promises'

/** Layout of a bolt file: go.etcd.io/bbolt, internal/common/{page,meta,bucket}.go. Numbers are those of the machine. */
const magic = 0xed0cdaed
const metaAt = 16
const headerSize = 16
const elementSize = 16
const isBranch = 1
const isLeaf = 2
const holdsBucket = 1

interface Meta {
  readonly pageSize: number
  readonly root: bigint
  readonly transaction: bigint
}

/**
 * Whether a bolt file can be opened: one of its two meta pages must be right.
 * @param head the first pages; an empty file is valid, since bolt fills it.
 */
export const isBolt = (head: Uint8Array): boolean => head.length === 0 || newestMeta(head) !== undefined

/** The newer of the two meta pages that are whole: magic number, version 2, checksum (FNV-1a over the 56 bytes before it). */
function newestMeta(head: Uint8Array): Meta | undefined {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength)
  const read = (page: number): Meta | undefined => {
    const meta = page + metaAt
    if (head.length < meta + 64 || view.getUint32(meta, true) !== magic || view.getUint32(meta + 4, true) !== 2)
      return undefined
    if (fnv1a(head.subarray(meta, meta + 56)) !== view.getBigUint64(meta + 56, true)) return undefined
    return {
      pageSize: view.getUint32(meta + 8, true),
      root: view.getBigUint64(meta + 16, true),
      transaction: view.getBigUint64(meta + 48, true),
    }
  }
  // Page sizes are those of the machines that wrote the file: the second meta page follows the first.
  const metas = [0, 4096, 8192, 16384, 65536].map(read).filter((meta) => meta !== undefined)
  return metas.toSorted((a, b) => (a.transaction < b.transaction ? 1 : -1))[0]
}

function fnv1a(bytes: Uint8Array): bigint {
  let hash = 0xcbf29ce484222325n
  for (const byte of bytes) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n)
  return hash
}

/** Bytes that hold both meta pages whatever the page size. */
export const headSize = 65536 + 4096

/**
 * The keys of a top-level bucket. A running daemon may write meanwhile: pages that a transaction frees are used again,
 * so the answer only counts when no transaction ended while it was read; a few tries are made.
 * @returns an empty set when the file or the bucket is not there, undefined when it cannot be read for certain.
 */
export async function bucketKeys(path: string, bucket: string): Promise<ReadonlySet<string> | undefined> {
  let file: FileHandle
  try {
    file = await open(path, 'r')
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? new Set() : undefined
  }
  try {
    for (let tries = 0; tries < 5; tries++) {
      const before = await readHead(file)
      if (before.length === 0) return new Set()
      const meta = newestMeta(before)
      if (!meta) return undefined
      const keys = await readKeys(file, meta, bucket).catch(() => undefined)
      if (keys && newestMeta(await readHead(file))?.transaction === meta.transaction) return keys
    }
    return undefined
  } finally {
    await file.close()
  }
}

async function readHead(file: FileHandle): Promise<Buffer> {
  const buffer = Buffer.alloc(headSize)
  const { bytesRead } = await file.read(buffer, 0, buffer.length, 0)
  return buffer.subarray(0, bytesRead)
}

async function readKeys(file: FileHandle, meta: Meta, bucket: string): Promise<ReadonlySet<string>> {
  const page = async (id: bigint): Promise<Buffer> => {
    const at = Number(id) * meta.pageSize
    const first = Buffer.alloc(meta.pageSize)
    await readFully(file, first, at)
    const overflow = first.readUInt32LE(12)
    if (overflow === 0) return first
    const all = Buffer.alloc(meta.pageSize * (overflow + 1))
    await readFully(file, all, at)
    return all
  }
  const found = new Set<string>()
  for await (const { key, flags, value } of elements(await page(meta.root), page)) {
    if (key !== bucket || (flags & holdsBucket) === 0) continue
    const root = value.readBigUInt64LE(0)
    // A small bucket lies in its element, as a page after its header.
    const top = root === 0n ? value.subarray(headerSize) : await page(root)
    for await (const element of elements(top, page)) found.add(element.key)
  }
  return found
}

interface Element {
  readonly key: string
  readonly flags: number
  readonly value: Buffer
}

async function* elements(page: Buffer, read: (id: bigint) => Promise<Buffer>, depth = 0): AsyncGenerator<Element> {
  const kind = page.readUInt16LE(8)
  const count = page.readUInt16LE(10)
  if (depth > 20 || (kind & (isBranch | isLeaf)) === 0) throw new RangeError('not a page of a bucket')
  for (let i = 0; i < count; i++) {
    const at = headerSize + i * elementSize
    if ((kind & isBranch) !== 0) {
      yield* elements(await read(page.readBigUInt64LE(at + 8)), read, depth + 1)
      continue
    }
    const key = at + page.readUInt32LE(at + 4)
    const value = key + page.readUInt32LE(at + 8)
    yield {
      key: page.toString('utf8', key, value),
      flags: page.readUInt32LE(at),
      value: page.subarray(value, value + page.readUInt32LE(at + 12)),
    }
  }
}

async function readFully(file: FileHandle, buffer: Buffer, position: number): Promise<void> {
  const { bytesRead } = await file.read(buffer, 0, buffer.length, position)
  if (bytesRead < buffer.length) throw new RangeError('the file is shorter than its pages')
}
