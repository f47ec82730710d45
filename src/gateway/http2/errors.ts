/** Error codes of RFC 9113 section 7. */
export const errorCodes = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  FLOW_CONTROL_ERROR: 3,
  SETTINGS_TIMEOUT: 4,
  STREAM_CLOSED: 5,
  FRAME_SIZE_ERROR: 6,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  COMPRESSION_ERROR: 9,
  CONNECT_ERROR: 10,
  ENHANCE_YOUR_CALM: 11,
  INADEQUATE_SECURITY: 12,
  HTTP_1_1_REQUIRED: 13,
} as const

export type ErrorCode = keyof typeof errorCodes

/** A violation of RFC 9113 by the peer. With a stream it ends that stream, without one the connection. */
export class Http2Error extends Error {
  readonly code: ErrorCode
  readonly stream: number | undefined

  constructor(code: ErrorCode, message: string, stream?: number) {
    super(message)
    this.code = code
    this.stream = stream
  }
}

export const compressionError = (message: string): Http2Error => new Http2Error('COMPRESSION_ERROR', message)
export const protocolError = (message: string, stream?: number): Http2Error =>
  new Http2Error('PROTOCOL_ERROR', message, stream)
