import type { ServerSessionOptions, SessionOptions } from 'node:http2'

/**
 * Bytes one connection may have in flight towards us. Node's default (64 KiB for everything together) costs a factor
 * of several at real round-trip times.
 */
export const connectionWindow = 16 << 20
const streamWindow = 4 << 20

/** Settings of both sides. No PING timers: buildkitd answers frequent PINGs with GOAWAY too_many_pings. */
export function sessionOptions(): SessionOptions & ServerSessionOptions {
  return {
    settings: { initialWindowSize: streamWindow, maxConcurrentStreams: 1000, enablePush: false },
    // In MB; the default of 10 ends connections that carry several uploads at once.
    maxSessionMemory: 1000,
    // A session announces each of its methods in a header line of its own.
    maxHeaderListPairs: 4096,
    peerMaxConcurrentStreams: 1000,
  }
}

/** Most bytes of a message that is decoded here. buildkitd itself refuses more than 16 MiB. */
export const messageLimit = 64 << 20

/** How long a call waits for a build that is not known yet, milliseconds: as long as buildkitd does. */
export const patience = 3000
