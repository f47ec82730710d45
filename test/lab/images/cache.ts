import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'

/** Twelve hex digits over the files' contents and the given texts: the key of something made from them. */
export async function hashOf(files: readonly string[], texts: readonly string[] = []): Promise<string> {
  const hash = createHash('sha256')
  for (const text of texts) hash.update(`${text}\0`)
  for (const file of files) await pipeline(createReadStream(file), hash, { end: false })
  return hash.digest('hex').slice(0, 12)
}
