import type { IncomingMessage, ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { contentHeaders, notFound, parseRange, sendError } from './answer.ts'
import { compressor, worthCompressing } from './compress.ts'
import type { ContentStore } from './content.ts'
import { type Descriptor, isPlainLayer } from './manifest.ts'
import { writeAll } from './write.ts'

/** Bytes of the blob itself, where `content-length` is that of its compressed form or absent. */
export const sizeHeader = 'insitu-size'

/**
 * Answers a GET or HEAD with content of this node, streaming, ranges included.
 * @param compress whether the client may get a plain layer as zstd, if it says that it accepts it.
 * @returns bytes of content that were sent; -1 when the content is not here and 404 was answered.
 */
export async function serveContent(
  request: IncomingMessage,
  response: ServerResponse,
  { mediaType, digest }: Descriptor,
  store: ContentStore,
  compress: boolean,
): Promise<number> {
  const size = await store.size(digest)
  if (size === undefined) {
    notFound(response)
    return -1
  }
  const range = parseRange(request.headers.range, size)
  if (range === 'unsatisfiable') {
    response.setHeader('content-range', `bytes */${size}`)
    sendError(response, 416, 'RANGE_INVALID', `the blob has ${size} bytes`)
    return 0
  }
  const headers: Record<string, string | number> = { ...contentHeaders(digest, mediaType, size), [sizeHeader]: size }
  const { start, end } = range ?? { start: 0, end: size - 1 }
  if (request.method === 'HEAD' || size === 0) {
    response.writeHead(200, headers).end()
    return 0
  }
  const wanted =
    compress && !range && isPlainLayer(mediaType) && /\bzstd\b/.test(request.headers['accept-encoding'] ?? '')
  if (wanted && (await worthCompressing(store, digest, size))) {
    delete headers['content-length']
    delete headers['accept-ranges']
    response.writeHead(200, { ...headers, 'content-encoding': 'zstd' })
    await pipeline(store.stream(digest, start, end), compressor(), response)
    return size
  }
  if (range) {
    response.writeHead(206, {
      ...headers,
      'content-length': end - start + 1,
      'content-range': `bytes ${start}-${end}/${size}`,
    })
  } else response.writeHead(200, headers)
  await writeAll(store.pieces(digest, start, end), response)
  response.end()
  return end - start + 1
}
