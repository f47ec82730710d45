import type { ServerResponse } from 'node:http'

/** An error as OCI distribution wants it. */
export function sendError(response: ServerResponse, status: number, code: string, message: string): void {
  const body = JSON.stringify({ errors: [{ code, message }] })
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) })
  response.end(body)
}

/**
 * Fails the pull of a name, with a sentence for the pod's event. After every status above 399 containerd tries the next host,
 * a registry that may have an old image of the name. One below that it cannot use ends the pull (Resolve in
 * core/remotes/docker/resolver.go), and its status line is what the error says: an answer to HEAD has no other words. Go's
 * client follows no 300.
 */
export function endPull(response: ServerResponse, sentence: string): void {
  // The line is bytes to both ends: Node writes the characters below 256 as they are, containerd reads UTF-8.
  const line = Buffer.from(sentence.replaceAll(/\p{Cc}+/gu, ' ')).toString('latin1')
  response.writeHead(300, line, { 'content-length': 0 }).end()
}

/**
 * Without a body: containerd never reads that of a 404 (core/remotes/docker/resolver.go, withErrorCheck), and Go uses a
 * connection again only when nothing is left in it. An ordinary pull asks here once for each of its blobs.
 */
export const notFound = (response: ServerResponse): void => void response.writeHead(404, { 'content-length': 0 }).end()

/** Headers of content: containerd takes name → digest from `docker-content-digest`. */
export const contentHeaders = (digest: string, mediaType: string, size: number): Record<string, string | number> => ({
  'content-type': mediaType,
  'content-length': size,
  'docker-content-digest': digest,
  etag: `"${digest}"`,
  'accept-ranges': 'bytes',
})

export interface ByteRange {
  readonly start: number
  /** Included. */
  readonly end: number
}

/**
 * One range of RFC 9110 section 14. Several ranges, and what cannot be read, are answered with the whole.
 * @returns `unsatisfiable` for a start behind the end.
 */
export function parseRange(header: string | undefined, size: number): ByteRange | 'unsatisfiable' | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '')
  if (!match || (match[1] === '' && match[2] === '')) return undefined
  const [, from = '', to = ''] = match
  if (from === '') {
    const length = Math.min(Number(to), size)
    return length === 0 ? 'unsatisfiable' : { start: size - length, end: size - 1 }
  }
  const start = Number(from)
  if (start >= size) return 'unsatisfiable'
  const end = to === '' ? size - 1 : Math.min(Number(to), size - 1)
  return end < start ? undefined : { start, end }
}
