import type { ServerResponse } from 'node:http'

/** An error as OCI distribution wants it; containerd shows the message of a 403 to the user. */
export function sendError(response: ServerResponse, status: number, code: string, message: string): void {
  const body = JSON.stringify({ errors: [{ code, message }] })
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) })
  response.end(body)
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
