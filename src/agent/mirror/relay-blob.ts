import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { InsituError } from '../../kernel/errors.ts'
import { contentHeaders, parseRange, sendError } from './answer.ts'
import type { RemoteContent } from './source.ts'
import { readVerified, smallBlob, verifiedBytes, type VerifiedOptions } from './verified.ts'

export interface RelayOptions extends VerifiedOptions {
  /** Told that a blob arrived wrong and containerd has the most of it. */
  readonly onCorrupt: (digest: string) => void
}

/**
 * Answers with a blob of other nodes. Small ones are proved first; of large ones containerd never gets the last piece
 * before the whole is proved, and a broken transfer goes on from another node without its notice.
 * @returns bytes that came from other nodes.
 * @throws what `source.open` throws, as long as nothing was answered.
 */
export async function relayBlob(
  request: IncomingMessage,
  response: ServerResponse,
  content: RemoteContent,
  options: RelayOptions,
): Promise<number> {
  const { digest } = content
  const from = /^bytes=(\d+)-\d*$/.exec(request.headers.range ?? '')?.[1]
  const offset = Number(from ?? '0')
  const opened = await options.source.open(content, 'blobs', offset)
  const headers = contentHeaders(digest, 'application/octet-stream', opened.size)
  if (request.method === 'HEAD') {
    opened.body.destroy()
    response.writeHead(200, headers).end()
    return 0
  }
  const range = parseRange(request.headers.range, opened.size)
  if (range === 'unsatisfiable') {
    opened.body.destroy()
    sendError(response, 416, 'RANGE_INVALID', `the blob has ${opened.size} bytes`)
    return 0
  }
  if (!range && opened.size <= smallBlob) {
    const bytes = await readVerified(content, 'blobs', options, opened)
    response.writeHead(200, headers).end(bytes)
    return bytes.length
  }
  const end = (range?.end ?? opened.size - 1) + 1
  if (range) {
    response.writeHead(206, {
      ...headers,
      'content-length': end - range.start,
      'content-range': `bytes ${range.start}-${range.end}/${opened.size}`,
    })
  } else response.writeHead(200, headers)
  let at = offset
  try {
    for await (const chunk of verifiedBytes(content, opened, offset, options)) {
      if (response.destroyed) break
      const piece = at + chunk.length > end ? chunk.subarray(0, end - at) : chunk
      at += piece.length
      if (!response.write(piece)) await Promise.race([once(response, 'drain'), once(response, 'close')])
      if (at >= end) break
    }
    response.end()
  } catch (error) {
    // The end must not look like an end.
    response.destroy()
    if (error instanceof InsituError && error.code === 'DIGEST_MISMATCH') options.onCorrupt(digest)
    throw error
  }
  return at - offset
}
