/** Frame types of RFC 9113 section 6. */
export const frameTypes = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const

export const flags = { END_STREAM: 0x1, ACK: 0x1, END_HEADERS: 0x4, PADDED: 0x8, PRIORITY: 0x20 } as const

export const frameHeaderSize = 9

/** The largest payload that everybody must take (RFC 9113 section 4.2), and the largest that we take. */
export const defaultFrameSize = 16_384

/** What a client sends first (RFC 9113 section 3.4). */
export const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1')

/** A frame header with room for `extra` bytes after it. */
export function frameHeader(type: number, flag: number, stream: number, length: number, extra = 0): Buffer {
  const frame = Buffer.allocUnsafe(frameHeaderSize + extra)
  writeFrameHeader(frame, 0, type, flag, stream, length)
  return frame
}

/** Writes a frame header into `bytes` from `at` on. */
export function writeFrameHeader(
  bytes: Buffer,
  at: number,
  type: number,
  flag: number,
  stream: number,
  length: number,
): void {
  bytes[at] = length >>> 16
  bytes[at + 1] = (length >>> 8) & 0xff
  bytes[at + 2] = length & 0xff
  bytes[at + 3] = type
  bytes[at + 4] = flag
  bytes[at + 5] = (stream >>> 24) & 0x7f
  bytes[at + 6] = (stream >>> 16) & 0xff
  bytes[at + 7] = (stream >>> 8) & 0xff
  bytes[at + 8] = stream & 0xff
}

/** A frame whose payload is one 32-bit number: RST_STREAM, WINDOW_UPDATE. */
export function numberFrame(type: number, stream: number, value: number): Buffer {
  const frame = frameHeader(type, 0, stream, 4, 4)
  frame.writeUInt32BE(value, frameHeaderSize)
  return frame
}

export function pingFrame(payload: Uint8Array, ack: boolean): Buffer {
  const frame = frameHeader(frameTypes.PING, ack ? flags.ACK : 0, 0, 8, 8)
  frame.set(payload.subarray(0, 8), frameHeaderSize)
  return frame
}

export function goawayFrame(lastStream: number, code: number, text: string): Buffer {
  const debug = Buffer.from(text)
  const frame = frameHeader(frameTypes.GOAWAY, 0, 0, 8 + debug.length, 8 + debug.length)
  frame.writeUInt32BE(lastStream, frameHeaderSize)
  frame.writeUInt32BE(code, frameHeaderSize + 4)
  frame.set(debug, frameHeaderSize + 8)
  return frame
}

/** HEADERS, and CONTINUATION for what does not fit into one frame. */
export function headerFrames(stream: number, block: Buffer, endStream: boolean, frameSize: number): Buffer[] {
  const frames: Buffer[] = []
  for (let at = 0; at === 0 || at < block.length; at += frameSize) {
    const part = block.subarray(at, at + frameSize)
    const last = at + frameSize >= block.length
    const flag = (last ? flags.END_HEADERS : 0) | (at === 0 && endStream ? flags.END_STREAM : 0)
    const frame = frameHeader(
      at === 0 ? frameTypes.HEADERS : frameTypes.CONTINUATION,
      flag,
      stream,
      part.length,
      part.length,
    )
    frame.set(part, frameHeaderSize)
    frames.push(frame)
  }
  return frames
}
