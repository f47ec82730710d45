import type { IncomingMessage, ServerResponse } from 'node:http'
import { InsituError } from '../../kernel/errors.ts'
import { contentHeaders, parseRange, sendError } from './answer.ts'
import type { RemoteContent } from './source.ts'
import { readVerified, smallBlob, verifiedBytes, type VerifiedOptions } from './verified.ts'
import { writeAll } from './write.ts'

export interface RelayOptions extends VerifiedOptions {
  /** Told that a blob arrived wrong and containerd has the most of it. */
  readonly onCorrupt: (digest: string) => void
  /** Told of bytes of other nodes as they pass. */
  readonly onBytes: (bytes: number) => void
}

/**
 * Answers with a blob of other nodes. Small ones are proved first; of large ones containerd never gets the last piece
 * before the whole is proved, and a broken transfer goes on from another node without its notice.
 * @throws what `source.open` throws, as long as nothing was answered.
 */
export async function relayBlob(
  request: IncomingMessage,
  response: ServerResponse,
  content: RemoteContent,
  options: RelayOptions,
): Promise<void> {
  const { digest } = content
  const from = /^bytes=(\d+)-\d*$/.exec(request.headers.range ?? '')?.[1]
  const offset = Number(from ?? '0')
  const opened = await options.source.open(content, 'blobs', offset)
  const headers = contentHeaders(digest, 'application/octet-stream', opened.size)
  if (request.method === 'HEAD') {
    opened.body.destroy()
    response.writeHead(200, headers).end()
    return
  }
  const range = parseRange(request.headers.range, opened.size)
  if (range === 'unsatisfiable') {
    opened.body.destroy()
    sendError(response, 416, 'RANGE_INVALID', `the blob has ${opened.size} bytes`)
    return
  }
  if (!range && opened.size <= smallBlob) {
    const bytes = await readVerified(content, 'blobs', options, opened)
    options.onBytes(bytes.length)
    response.writeHead(200, headers).end(bytes)
    return
  }
  const end = (range?.end ?? opened.size - 1) + 1
  if (range) {
    response.writeHead(206, {
      ...headers,
      'content-length': end - range.start,
      'content-range': `bytes ${range.start}-${range.end}/${opened.size}`,
    })
  } else response.writeHead(200, headers)
  try {
    await writeAll(count(verifiedBytes(content, opened, offset, options), end - offset, options.onBytes), response)
    response.end()
  } catch (error) {
    // The connection is cut by now: the end must not look like an end.
    if (error instanceof InsituError && error.code === 'DIGEST_MISMATCH') options.onCorrupt(digest)
    throw error
  }
}

/** At most so many bytes, each told. */
async function* count(
  chunks: AsyncIterable<Buffer>,
  most: number,
  onBytes: (bytes: number) => void,
): AsyncGenerator<Buffer> {
  let left = most
  for await (const chunk of chunks) {
    const piece = chunk.length > left ? chunk.subarray(0, left) : chunk
    left -= piece.length
    onBytes(piece.length)
    yield piece
    if (left === 0 && chunk.length > piece.length) return
  }
}
