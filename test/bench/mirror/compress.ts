import { open } from 'node:fs/promises'
import { Readable, type Transform } from 'node:stream'
import { compressor, decompressor } from '../../../src/agent/mirror/compress.ts'
import type { Measurement } from '../report.ts'

const size = 64 << 20
const piece = 256 << 10

/** What compressing a plain layer on its way costs and gives: the program of this process stands for a layer. */
export async function measureCompression(runs: number): Promise<Measurement[]> {
  const file = await open(process.execPath)
  const { buffer } = await file.read(Buffer.alloc(size), 0, size, 0)
  await file.close()
  const [packing, unpacking, share]: [number[], number[], number[]] = [[], [], []]
  for (let round = 0; round < runs; round++) {
    const packed = await through(compressor(), buffer)
    const plain = await through(decompressor(), packed.bytes)
    packing.push(size / 1e6 / packed.seconds)
    unpacking.push(size / 1e6 / plain.seconds)
    share.push((packed.bytes.length / size) * 100)
  }
  const subject = 'zstd'
  return [
    { case: 'compress, by processor second', subject, unit: 'MB/s', values: packing },
    { case: 'decompress, by processor second', subject, unit: 'MB/s', values: unpacking },
    { case: 'compressed, of its size', subject, unit: '%', values: share },
  ]
}

/** Seconds of processor time, so that a busy machine says the same as an idle one. */
async function through(transform: Transform, bytes: Buffer): Promise<{ bytes: Buffer; seconds: number }> {
  const before = process.cpuUsage()
  const chunks: Buffer[] = []
  const pieces = Array.from({ length: Math.ceil(bytes.length / piece) }, (_, i) =>
    bytes.subarray(i * piece, (i + 1) * piece),
  )
  for await (const chunk of Readable.from(pieces).pipe(transform)) chunks.push(chunk as Buffer)
  const { user, system } = process.cpuUsage(before)
  return { bytes: Buffer.concat(chunks), seconds: (user + system) / 1e6 }
}
