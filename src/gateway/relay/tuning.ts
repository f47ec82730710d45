import type { ClientOptions } from '../http2/client.ts'
import type { Allowance } from '../http2/windows.ts'

/**
 * Bytes one connection may have in flight towards us. The protocol's default (64 KiB for everything together) costs a
 * factor of several at real round-trip times.
 */
export const connectionWindow = 16 << 20

/** The same for one call: what it leaves is for the others of the connection. */
export const streamWindow = 4 << 20

/** … and for a client's, whose line may be long. At 20 ms a window of 4 MiB would be the limit of an upload. */
export const clientStreamWindow = 12 << 20

/** Towards daemons. No PINGs: buildkitd answers frequent ones with GOAWAY too_many_pings. */
export const upstreamOptions: ClientOptions = { streamWindow, maxHeaderListSize: 1 << 20 }

/** On connections that clients share what one of them leaves unread is bounded by the windows of its calls: small at first … */
export const sharedOptions: ClientOptions = { ...upstreamOptions, streamWindow: 65_535, shared: true }

/** … and larger for so many of its long calls at a time. */
const longCalls = 4

/** For the calls of one client. */
export const allowance = (): Allowance => ({ left: longCalls * streamWindow, each: streamWindow, waiting: 0 })

/** Most bytes of a message of a daemon's that is decoded here. */
export const messageLimit = 64 << 20

/** How long a call waits for a build that is not known yet, milliseconds: as long as buildkitd does. */
export const patience = 3000

/**
 * Milliseconds after which a client whose build waits is answered by the gateway, where a daemon would have answered at once.
 * BuildKit's client gives its build up when LLBBridge/Ping has no answer after 15 s, and Go's HTTP/2 server a session that has
 * no preface after 10 s.
 */
export const answerAfter = 5000
