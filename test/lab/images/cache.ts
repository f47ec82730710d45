import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'

/** Twelve hex digits over the files' contents and the given texts: the key of something made from them. */
export async function hashOf(files: readonly string[], texts: readonly string[] = []): Promise<string> {
  const hash = createHash('sha256')
  for (const text of texts) hash.update(`${text}\0`)
  for (const file of files) {
    for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer)
  }
  return hash.digest('hex').slice(0, 12)
}
