import { Http2Error, protocolError } from './errors.ts'
import { defaultFrameSize, flags, frameHeader, frameHeaderSize, frameTypes } from './frames.ts'

/** Settings of RFC 9113 section 6.5.2 that have a meaning here. */
export interface Settings {
  readonly maxConcurrentStreams: number
  readonly initialWindowSize: number
  readonly maxFrameSize: number
}

/** What holds before the peer has said anything. */
export const defaultSettings: Settings = {
  maxConcurrentStreams: 2 ** 32 - 1,
  initialWindowSize: 65_535,
  maxFrameSize: defaultFrameSize,
}

const ids = {
  ENABLE_PUSH: 2,
  MAX_CONCURRENT_STREAMS: 3,
  INITIAL_WINDOW_SIZE: 4,
  MAX_FRAME_SIZE: 5,
  MAX_HEADER_LIST_SIZE: 6,
} as const

export const maxWindow = 2 ** 31 - 1

/** @param role who sends: a client may switch push on, a server may not. @throws Http2Error */
export function readSettings(payload: Buffer, before: Settings, role: 'client' | 'server'): Settings {
  if (payload.length % 6 !== 0) throw new Http2Error('FRAME_SIZE_ERROR', 'SETTINGS of a wrong size')
  const settings = { ...before }
  for (let at = 0; at < payload.length; at += 6) {
    const value = payload.readUInt32BE(at + 2)
    switch (payload.readUInt16BE(at)) {
      case ids.ENABLE_PUSH:
        if (value > 1 || (value === 1 && role === 'server')) throw protocolError('a wrong value of ENABLE_PUSH')
        break
      case ids.MAX_CONCURRENT_STREAMS:
        settings.maxConcurrentStreams = value
        break
      case ids.INITIAL_WINDOW_SIZE:
        if (value > maxWindow) throw new Http2Error('FLOW_CONTROL_ERROR', 'a wrong value of INITIAL_WINDOW_SIZE')
        settings.initialWindowSize = value
        break
      case ids.MAX_FRAME_SIZE:
        if (value < defaultFrameSize || value > 0xffffff) throw protocolError('a wrong value of MAX_FRAME_SIZE')
        settings.maxFrameSize = value
        break
    }
  }
  return settings
}

export interface OwnSettings {
  readonly role: 'client' | 'server'
  readonly initialWindowSize: number
  /** For servers. */
  readonly maxConcurrentStreams: number
  readonly maxHeaderListSize: number
  /** The connection's window is given back as bytes arrive, not as they are read: what is kept is bounded by the streams' alone. */
  readonly shared?: boolean
}

export function settingsFrame(own: OwnSettings): Buffer {
  const entries: (readonly [number, number])[] = [
    [ids.INITIAL_WINDOW_SIZE, own.initialWindowSize],
    [ids.MAX_HEADER_LIST_SIZE, own.maxHeaderListSize],
    own.role === 'server' ? [ids.MAX_CONCURRENT_STREAMS, own.maxConcurrentStreams] : [ids.ENABLE_PUSH, 0],
  ]
  const frame = frameHeader(frameTypes.SETTINGS, 0, 0, entries.length * 6, entries.length * 6)
  let at = frameHeaderSize
  for (const [id, value] of entries) {
    frame.writeUInt16BE(id, at)
    frame.writeUInt32BE(value, at + 2)
    at += 6
  }
  return frame
}

export const settingsAck = (): Buffer => frameHeader(frameTypes.SETTINGS, flags.ACK, 0, 0)
