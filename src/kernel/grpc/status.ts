import { describeError, grpcStatus, type GrpcStatus, InsituError } from '../errors.ts'

export interface Status {
  readonly code: number
  readonly message: string
}

export const status = (name: GrpcStatus, message: string): Status => ({ code: grpcStatus[name], message })

/** The status a client sees for an error: its sentence, its causes and the fix. Foreign errors are INTERNAL. */
export function statusOf(error: unknown): Status {
  const text = describeError(error)
  if (!(error instanceof InsituError)) return status('INTERNAL', text)
  return status(error.status, error.fix === undefined ? text : `${text}; to fix it: ${error.fix}`)
}

export const statusName = (code: number): GrpcStatus | undefined =>
  (Object.keys(grpcStatus) as GrpcStatus[]).find((name) => grpcStatus[name] === code)

/** Trailers (or the headers of a trailers-only answer) that carry a status. */
export function statusTrailers({ code, message }: Status): Record<string, string> {
  return message === ''
    ? { 'grpc-status': String(code) }
    : { 'grpc-status': String(code), 'grpc-message': encodeMessage(message) }
}

/**
 * Percent-encodes all but printable ASCII, and `%` itself, byte by byte of the UTF-8 form, as
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md asks for `grpc-message`.
 */
export function encodeMessage(message: string): string {
  let encoded = ''
  for (const byte of Buffer.from(message, 'utf8')) {
    encoded +=
      byte >= 0x20 && byte <= 0x7e && byte !== 0x25
        ? String.fromCharCode(byte)
        : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
  }
  return encoded
}

/** The reverse; text that is not validly encoded is returned as it is. */
export function decodeMessage(encoded: string): string {
  try {
    return decodeURIComponent(encoded)
  } catch {
    return encoded
  }
}
